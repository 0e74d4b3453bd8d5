//! Digests of credentials, in whose place they are remembered and compared.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What credentials are remembered as.
pub(super) type Digest = [u8; 32];

/// Makes digests under a key of its own.
pub(super) struct Digester {
    /// Dies with the process, so that a digest is worth nothing outside it.
    key: Zeroizing<[u8; 32]>,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self {
            key: Zeroizing::new(rand::random()),
        }
    }

    /// Lengths are part of it, so that no two lists of parts look alike.
    pub(super) fn of<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice())
            .expect("invariant: HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
