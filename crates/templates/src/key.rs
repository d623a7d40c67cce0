//! API keys: an id that is looked up and a secret that is compared. The secret is shown once and kept as a hash alone.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Time;
use crate::template::{Invalid, Owner};

const ID_BYTES: usize = 8;
/// 256 bits: far beyond guessing, so that a fast hash is enough.
const SECRET_BYTES: usize = 32;

/// A key as its holder has it: `ddk_ID_SECRET`, hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: String,
    secret: String,
}

impl ApiKey {
    const PREFIX: &str = "ddk_";

    /// A key that nobody has.
    ///
    /// # Panics
    /// When the system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the kernel gives randomness");
        Self { id: hex(&bytes[..ID_BYTES]), secret: hex(&bytes[ID_BYTES..]) }
    }

    /// The part that is no secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}{}_{}", Self::PREFIX, self.id, self.secret)
    }

    /// What is kept of the secret.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// Whether `hash` is that of the secret; takes the same time for any answer.
    pub(crate) fn matches(&self, hash: &[u8]) -> bool {
        self.hash().as_slice().ct_eq(hash).into()
    }
}

/// Does not show the secret.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, secret)", self.id)
    }
}

impl FromStr for ApiKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = Invalid("this is no API key of this service");
        let (id, secret) =
            text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('_')).ok_or(wrong.clone())?;
        let is_hex = |text: &str, bytes: usize| {
            text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES) {
            Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
        } else {
            Err(wrong)
        }
    }
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: Owner,
    /// When it was made.
    pub created_at: Time,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_its_secret_is_not_shown() {
        let key = ApiKey::generate();
        let text = key.reveal();
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_ne!(ApiKey::generate(), key);
        assert!(!format!("{key:?}").contains(&key.secret));
        assert!(key.matches(&key.hash()));
        assert!(!key.matches(&ApiKey::generate().hash()));
        assert!(!key.matches(&[]));
        for bad in ["", "ddk_", "ddk_0_0", &text[..text.len() - 1], &text.to_uppercase(), &format!("{text}0")] {
            assert!(bad.parse::<ApiKey>().is_err(), "{bad}");
        }
    }
}
