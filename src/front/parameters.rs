//! Query parameters that RESTHeart checks on every request, though a stream uses none of them.
//!
//! The first fault is told, in RESTHeart's order. Source: compat section 6.2, golden `definitions` (`req-*`).

use bson::Bson;
use http::StatusCode;

use crate::front::refusal::{Refusal, noted};
use crate::notation::shell;
use crate::streams::VariableError;
use crate::streams::variables::Paging;

/// The representations that the parameter `hal` may name.
const HAL_MODES: [&str; 4] = ["FULL", "F", "COMPACT", "C"];

/// Returns the first parameter that RESTHeart would refuse before it looks whether the collection exists.
///
/// # Errors
/// The refusal.
pub fn check_paging(query: &[(String, String)]) -> Result<(), Refusal> {
    Paging::read(query).map_err(|error| variable_refusal(&error))?;
    document(query, "keys")?;
    document(query, "filter")
}

/// The parameters that come behind `avars` in RESTHeart's order.
///
/// # Errors
/// The refusal.
pub fn check_rest(query: &[(String, String)]) -> Result<(), Refusal> {
    if value(query, "id_type").is_some_and(|kind| matches!(kind, "OID" | "oid")) {
        return Err(bad("wrong document id format: not a valid OID"));
    }
    if value(query, "hal")
        .is_some_and(|mode| !HAL_MODES.contains(&mode.to_ascii_uppercase().as_str()))
    {
        return Err(bad(
            "illegal hal parameter; valid values are [FULL, F, COMPACT, C]",
        ));
    }
    document(query, "shardkey")
}

/// The id of a MongoDB session, checked once the stream is known to exist.
///
/// # Errors
/// The refusal.
pub fn check_session(query: &[(String, String)]) -> Result<(), Refusal> {
    match value(query, "sid") {
        Some(sid) if bson::Uuid::parse_str(sid).is_err() => Err(bad("Invalid session id")),
        _ => Ok(()),
    }
}

/// The first value of a parameter.
pub fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

/// What is answered to illegal variables: RESTHeart fails on `avars` that is no object before it knows the service.
pub fn variable_refusal(error: &VariableError) -> Refusal {
    let exception = error
        .exception()
        .map(|(class, text)| (class.to_owned(), text));
    match error {
        VariableError::TooDeep { .. } => noted("depth"),
        VariableError::TooMany { .. } => noted("variables"),
        VariableError::AvarsIllegal { .. }
        | VariableError::AvarsNotObject { .. }
        | VariableError::AvarsOperator { .. }
        | VariableError::NotANumber { .. }
        | VariableError::PageTooSmall
        | VariableError::PageSize => (),
    }
    match (error, exception) {
        (VariableError::AvarsNotObject { .. }, Some(exception)) => Refusal::Failed { exception },
        (_, exception) => Refusal::Said {
            status: StatusCode::BAD_REQUEST,
            message: error.to_string(),
            exception,
        },
    }
}

fn document(query: &[(String, String)], name: &str) -> Result<(), Refusal> {
    let Some(text) = value(query, name) else {
        return Ok(());
    };
    let reason = match shell::parse(text) {
        Ok(Bson::Document(_)) => return Ok(()),
        Ok(_) => "it is not a json object".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Refusal::Said {
        status: StatusCode::BAD_REQUEST,
        message: format!("illegal {name} parameter: {text}, {reason}"),
        exception: Some((
            "org.bson.json.JsonParseException".to_owned(),
            "invalid json".to_owned(),
        )),
    })
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::said(StatusCode::BAD_REQUEST, message)
}
