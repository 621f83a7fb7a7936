//! Text that both sides have before a payload arrives.

mod layout;

use std::{collections::BTreeMap, fmt, sync::Arc};

use zstd::zstd_safe::{CDict, DDict, get_dict_id_from_dict};

use crate::{Error, item::write_hex, pack::LEVEL};

/// Most bytes a dictionary may have: loading one costs time on each payload that is packed against its text.
pub const MAX_DICTIONARY_BYTES: usize = 128 * 1024;

/// A trained zstd dictionary (RFC 8878 §5), named by its content and never changed.
///
/// It contains pieces of its training text: never share one across tenants. Cloning shares it.
#[derive(Clone)]
pub struct Dictionary(Arc<Loaded>);

struct Loaded {
    id: DictionaryId,
    bytes: Vec<u8>,
    content_at: usize,
    packer: CDict<'static>,
    unpacker: DDict<'static>,
}

impl Dictionary {
    /// Loads a dictionary that was trained before.
    ///
    /// # Errors
    /// [`Error::BadDictionary`] when `bytes` are no trained dictionary or more than [`MAX_DICTIONARY_BYTES`].
    pub fn load(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let bad = Error::BadDictionary { bytes: bytes.len(), limit: MAX_DICTIONARY_BYTES };
        if bytes.len() > MAX_DICTIONARY_BYTES || get_dict_id_from_dict(&bytes).is_none() {
            return Err(bad);
        }
        let packer = CDict::try_create(&bytes, LEVEL);
        let unpacker = DDict::try_create(&bytes);
        let (Some(packer), Some(unpacker), Some(content_at)) = (packer, unpacker, layout::content_at(&bytes)) else {
            return Err(bad);
        };
        Ok(Self(Arc::new(Loaded { id: DictionaryId::of(&bytes), bytes, content_at, packer, unpacker })))
    }

    /// Returns the name that frames carry.
    pub fn id(&self) -> DictionaryId {
        self.0.id
    }

    /// Returns the trained bytes, to be stored or sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Returns the entropy tables and the end of the text, at most `limit` bytes of it: together they are a dictionary
    /// too.
    pub(crate) fn tables_and_tail(&self, limit: usize) -> (&[u8], &[u8]) {
        let (tables, content) = self.bytes().split_at(self.0.content_at);
        (tables, &content[content.len().saturating_sub(limit)..])
    }

    pub(crate) fn packer(&self) -> &CDict<'static> {
        &self.0.packer
    }

    pub(crate) fn unpacker(&self) -> &DDict<'static> {
        &self.0.unpacker
    }
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Dictionary {}

impl fmt::Debug for Dictionary {
    /// Shows id and size: the text is private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary").field("id", &self.id()).field("bytes", &self.bytes().len()).finish()
    }
}

/// Names a dictionary: the first 4 bytes of the BLAKE3-256 of it.
///
/// Few dictionaries are in use at a time, so 4 bytes distinguish them; [`Dictionaries`] rejects two of one name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DictionaryId([u8; 4]);

impl DictionaryId {
    /// Names the dictionary of these bytes.
    pub fn of(dictionary: &[u8]) -> Self {
        let [a, b, c, d, ..] = *blake3::hash(dictionary).as_bytes();
        Self([a, b, c, d])
    }

    /// Wraps an id read from a frame or a store.
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Returns the 4 bytes.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for DictionaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for DictionaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// The dictionaries at hand, by name.
#[derive(Debug, Clone, Default)]
pub struct Dictionaries(BTreeMap<DictionaryId, Dictionary>);

impl Dictionaries {
    /// Adds a dictionary; a known one changes nothing.
    ///
    /// # Errors
    /// [`Error::DictionaryClash`] when another one has the same name.
    pub fn insert(&mut self, dictionary: Dictionary) -> Result<(), Error> {
        match self.0.get(&dictionary.id()) {
            Some(known) if *known != dictionary => Err(Error::DictionaryClash { id: dictionary.id() }),
            Some(_) => Ok(()),
            None => {
                self.0.insert(dictionary.id(), dictionary);
                Ok(())
            }
        }
    }

    /// Removes a dictionary, once no stored frame names it.
    pub fn remove(&mut self, id: DictionaryId) -> Option<Dictionary> {
        self.0.remove(&id)
    }

    /// Finds a dictionary by its name.
    ///
    /// # Errors
    /// [`Error::Dictionary`] when it is not at hand.
    pub fn get(&self, id: DictionaryId) -> Result<&Dictionary, Error> {
        self.0.get(&id).ok_or(Error::Dictionary { id })
    }

    /// Returns how many dictionaries are at hand.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no dictionary.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::dictionary;

    #[test]
    fn bytes_that_are_no_dictionary_are_refused() {
        for bytes in [&b""[..], b"just text", &[0x37, 0xa4, 0x30, 0xec, 1, 0, 0, 0, 9, 9]] {
            let refused = Error::BadDictionary { bytes: bytes.len(), limit: MAX_DICTIONARY_BYTES };
            assert_eq!(Dictionary::load(bytes), Err(refused));
        }
        let mut long = dictionary().bytes().to_vec();
        long.resize(MAX_DICTIONARY_BYTES + 1, b' ');
        assert!(matches!(Dictionary::load(long), Err(Error::BadDictionary { .. })));
    }

    #[test]
    fn a_dictionary_is_found_by_the_hash_of_its_bytes() {
        let trained = dictionary();
        let loaded = Dictionary::load(trained.bytes()).unwrap();
        assert_eq!(loaded, trained);
        assert_eq!(loaded.id().as_bytes(), &blake3::hash(trained.bytes()).as_bytes()[..4]);
        let mut known = Dictionaries::default();
        known.insert(loaded.clone()).unwrap();
        known.insert(loaded).unwrap();
        assert_eq!((known.len(), known.get(trained.id()).unwrap()), (1, &trained));
        known.remove(trained.id());
        assert_eq!(known.get(trained.id()), Err(Error::Dictionary { id: trained.id() }));
    }

    #[test]
    fn its_text_stays_out_of_logs() {
        let shown = format!("{:?}", dictionary());
        assert!(shown.len() < 60, "{shown}");
    }
}
