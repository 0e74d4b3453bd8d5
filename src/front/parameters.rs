//! Query parameters that RESTHeart checks on every request, though a stream uses none of them.
//!
//! The first fault is told, in RESTHeart's order. Source: compat section 6.2, golden `definitions` (`req-*`).

use bson::Bson;
use http::StatusCode;

use crate::front::refusal::Refusal;
use crate::notation::shell;

/// The largest page that may be asked for.
const PAGESIZE_MAX: i64 = 1000;
/// The representations that the parameter `hal` may name.
const HAL_MODES: [&str; 4] = ["FULL", "F", "COMPACT", "C"];

/// Returns the first parameter that RESTHeart would refuse before it looks whether the collection exists.
///
/// # Errors
/// The refusal.
pub fn check_paging(query: &[(String, String)]) -> Result<(), Refusal> {
    let pagesize = number(query, "pagesize")?;
    if pagesize.is_some_and(|pagesize| !(0..=PAGESIZE_MAX).contains(&pagesize)) {
        return Err(bad("illegal pagesize parameter, pagesize must be >= 0 and <= 1000"));
    }
    let page = number(query, "page")?;
    if page.is_some_and(|page| page < 1) {
        return Err(bad("illegal page parameter, it is < 1"));
    }
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
    if value(query, "hal").is_some_and(|mode| !HAL_MODES.contains(&mode.to_ascii_uppercase().as_str())) {
        return Err(bad("illegal hal parameter; valid values are [FULL, F, COMPACT, C]"));
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
    query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn number(query: &[(String, String)], name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = value(query, name) else { return Ok(None) };
    match text.parse::<i32>() {
        Ok(number) => Ok(Some(number.into())),
        Err(_) => Err(Refusal::Said {
            status: StatusCode::BAD_REQUEST,
            message: format!("illegal {name} parameter, it is not a number"),
            exception: Some((
                "java.lang.NumberFormatException".to_owned(),
                format!("For input string: \"{text}\""),
            )),
        }),
    }
}

fn document(query: &[(String, String)], name: &str) -> Result<(), Refusal> {
    match value(query, name) {
        Some(text) if !matches!(shell::parse(text), Ok(Bson::Document(_))) => {
            Err(bad(format!("illegal {name} parameter, it is not a json object: {text}")))
        }
        _ => Ok(()),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::said(StatusCode::BAD_REQUEST, message)
}
