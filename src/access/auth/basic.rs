//! `Authorization: Basic …`.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// A name and a password, as they came.
pub(super) struct BasicCredentials {
    pub(super) name: String,
    pub(super) password: Zeroizing<String>,
}

/// The value is of this scheme, and cannot be read.
#[derive(Debug)]
pub(super) struct Malformed;

/// How the scheme was spelt: a token counts as a password only after `Basic` as it is written in the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Exact,
    OtherCase,
}

impl BasicCredentials {
    /// Parses a header's value; none where it is of another scheme.
    pub(super) fn parse(value: &str) -> Option<(Result<Self, Malformed>, Scheme)> {
        let (prefix, rest) = value.split_at_checked(PREFIX.len())?;
        let scheme = match prefix {
            PREFIX => Scheme::Exact,
            other if other.eq_ignore_ascii_case(PREFIX) => Scheme::OtherCase,
            _ => return None,
        };
        Some((Self::decode(rest.trim()).ok_or(Malformed), scheme))
    }

    fn decode(encoded: &str) -> Option<Self> {
        let bytes = Zeroizing::new(TOLERANT.decode(encoded).ok()?);
        let (name, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some(Self {
            name: name.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        })
    }
}

const PREFIX: &str = "Basic ";

/// Padding may be missing.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
