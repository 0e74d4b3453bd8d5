//! Who a request comes from, once its credentials have been found right.

use std::sync::Arc;
use std::time::SystemTime;

use bson::Document;

/// A user whose credentials are right.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The user's name, exactly as stored or claimed.
    pub name: String,
    /// The roles, in their order: the first one with a matching permission decides which is attached.
    pub roles: Vec<String>,
    /// What `@user` stands for, without the password, in RESTHeart's types and order.
    pub properties: Option<Document>,
    /// How the credentials were proved.
    pub mechanism: Mechanism,
    /// When the credentials end by themselves.
    pub expires_at: Option<SystemTime>,
    /// Which of the fetched keys signed the credentials.
    pub signed_by: Option<Arc<str>>,
}

/// How credentials were proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Basic, against a user kept in MongoDB.
    Basic,
    /// Basic, against a user of the configuration.
    Configured,
    /// Basic, whose password is a token that names the same user.
    BasicToken,
    /// A bearer token.
    Jwt,
    /// Whatever the API itself takes (forward auth).
    Forward,
}

impl Mechanism {
    /// What `%{AUTHENTICATION_TYPE}` says in a predicate.
    ///
    /// Source: golden `predicates`, `equals-authentication-type` and `jwt-authentication-type`.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Basic | Self::Configured => "basicAuthMechanism",
            Self::BasicToken => "tokenBasicAuthMechanism",
            Self::Jwt => "JwtAuthenticationManager",
            Self::Forward => "forwardAuth",
        }
    }
}
