//! The form of a key: `fr_<kind>_<id><secret><checksum>`.

use std::fmt;

use forerunner_core::ApiKeyId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::role::Role;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX: &str = "fr_";
/// 62^32 secrets are 190 bits: nobody guesses one, so a fast hash of it is enough.
const SECRET_LEN: usize = 32;
/// 62^6 is more than 2^32.
const CHECKSUM_LEN: usize = 6;
const TAIL_LEN: usize = ApiKeyId::LEN + SECRET_LEN + CHECKSUM_LEN;

/// A whole key, the secret included. Its `Debug` shows the id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    id: ApiKeyId,
}

/// The SHA-256 of a whole key, all that is stored of its secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

impl Token {
    /// Makes a key, with bits of the operating system.
    ///
    /// # Errors
    /// The operating system has no random bits.
    pub fn generate(role: Role) -> Result<Self, getrandom::Error> {
        let id = random_digits(ApiKeyId::LEN)?;
        let head = format!("{PREFIX}{}_{id}{}", role.tag(), random_digits(SECRET_LEN)?);
        let text = format!("{head}{}", checksum(head.as_bytes()));
        let id = ApiKeyId::new(id).expect("an id is 8 letters and digits, as these are");
        Ok(Self { text, id })
    }

    /// Reads a key. A slip of the pen is found here by the checksum, before any key is compared.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, tail) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_key = Role::ALL.iter().any(|role| role.tag() == kind)
            && tail.len() == TAIL_LEN
            && tail.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_key {
            return None;
        }
        let (head, sum) = text.split_at(text.len() - CHECKSUM_LEN);
        let id = ApiKeyId::new(&tail[..ApiKeyId::LEN]).ok()?;
        (checksum(head.as_bytes()) == sum).then(|| Self { text: text.to_owned(), id })
    }

    /// Returns the part that is no secret.
    pub const fn id(&self) -> &ApiKeyId {
        &self.id
    }

    /// Returns the whole key.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns what is stored of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, hidden)", self.id)
    }
}

impl KeyHash {
    /// The hash of no key: what an unknown key is compared with, so that it takes as long as a known one.
    pub(super) const NONE: Self = Self([0; 32]);

    /// Compares in constant time.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(hidden)")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const RULE: &str = "a hash is not the SHA-256 of a key: 64 digits of 0-9 and a-f; `forerunner key generate` \
                            prints one";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RULE);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| RULE)?;
        }
        Ok(Self(bytes))
    }
}

/// CRC-32 in six digits.
fn checksum(head: &[u8]) -> String {
    let mut rest = u64::from(crc32fast::hash(head));
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

fn random_digits(count: usize) -> Result<String, getrandom::Error> {
    let mut digits = String::with_capacity(count);
    let mut bytes = [0; 64];
    while digits.len() < count {
        getrandom::fill(&mut bytes)?;
        // 248 is 4 × 62: without the rest, all digits are equally likely.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(DIGITS[usize::from(*byte % 62)]));
        digits.extend(fair.take(count - digits.len()));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_a_slip_is_found() {
        for role in Role::ALL {
            let token = Token::generate(*role).unwrap();
            let text = token.reveal();
            assert_eq!(Token::parse(text), Some(token.clone()));
            assert_eq!(text.len(), 3 + role.tag().len() + 1 + 46);
            for at in 0..text.len() {
                let other = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
                let slip = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert_eq!(Token::parse(&slip), None, "{slip}");
            }
            assert!(Token::parse(&text[1..]).is_none() && Token::parse(&format!("{text}0")).is_none());
        }
        for bad in ["", "fr_", "fr_adm_", "fr_adm", "Bearer x", "fr_xxx_ü", &"fr_adm_".repeat(1_000)] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_differ_and_show_no_secret() {
        let (one, other) = (Token::generate(Role::Read).unwrap(), Token::generate(Role::Read).unwrap());
        assert!(one.reveal() != other.reveal() && one.id() != other.id() && !one.hash().is(&other.hash()));
        let shown = format!("{one:?} {:?}", one.hash());
        assert_eq!(shown, format!("Token({}, hidden) KeyHash(hidden)", one.id()));
    }

    #[test]
    fn a_hash_is_that_of_sha256sum() {
        let hash = KeyHash(Sha256::digest(b"abc").into());
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(String::from(hash), text);
        assert!(KeyHash::try_from(text.to_owned()).unwrap().is(&hash));
        for bad in ["", "ba78", &"g".repeat(64), &"ü".repeat(32), &"+1".repeat(32)] {
            assert!(KeyHash::try_from((*bad).to_owned()).is_err(), "{bad}");
        }
    }
}
