//! Strings that must not be seen: wiped when dropped, masked when printed.

use std::fmt;

use mongodb::options::ConnectionString;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is printed in place of a secret.
const MASK: &str = "***";

/// A secret text. `Debug` masks it; nothing prints it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

/// A MongoDB connection string that the driver can parse. Printing it hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoUri(Secret);

impl MongoUri {
    /// Checks the form; does not resolve names or connect.
    ///
    /// # Errors
    /// What the driver finds wrong, as a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = ConnectionString::parse(text).map_err(|error| match *error.kind {
            mongodb::error::ErrorKind::InvalidArgument { ref message, .. } => message.clone(),
            _ => "is not a MongoDB connection string".to_owned(),
        });
        match parsed {
            Ok(_) => Ok(Self(Secret::new(text.to_owned()))),
            // The driver may quote a part of the text, and which part it is depends on what is wrong with it.
            Err(message) if quotes_password(text, &message) => {
                Err("is not a MongoDB connection string".to_owned())
            }
            Err(message) => Err(message),
        }
    }

    /// The whole connection string, password and all, for the driver.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// Prints `mongodb://user:***@host/…`.
impl fmt::Display for MongoUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.reveal();
        let Some((start, end)) = password(text) else {
            return formatter.write_str(text);
        };
        write!(formatter, "{}{MASK}{}", &text[..start], &text[end..])
    }
}

impl fmt::Debug for MongoUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where the password stands: behind the first `:` of the part before the last `@` (an `@` that should have been
/// percent-encoded belongs to the password too). Looks no further than the host, so an `@` in an option is none.
fn password(text: &str) -> Option<(usize, usize)> {
    let authority = text.find("://")? + "://".len();
    let rest = &text[authority..];
    let rest = &rest[..rest.find('?').unwrap_or(rest.len())];
    let at = rest.rfind('@')?;
    let colon = rest[..at].find(':')?;
    Some((authority + colon + 1, authority + at))
}

fn quotes_password(text: &str, message: &str) -> bool {
    let authority = text.find("://").map_or(0, |at| at + "://".len());
    let Some(at) = text[authority..].rfind('@') else {
        return false;
    };
    // Whatever stands before the `@` is taken for credentials: the text is broken, so its parts are guesses.
    text[authority..authority + at]
        .split([':', '/', '@'])
        .any(|part| !part.is_empty() && message.contains(part))
}
