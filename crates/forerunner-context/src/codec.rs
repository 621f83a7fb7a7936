//! What a writer may use to make frames short, and what a reader has at hand.

use crate::{
    BaseItems, Delta, Dictionaries, Dictionary, DictionaryId, Error, Frame, Snapshot,
    delta::check_parent,
    frame::{Packed, write},
};

/// Writes and reads frames with what both sides share: dictionaries, base items, the parent's text.
///
/// The default uses none of them, so its frames can be read anywhere. Cloning is cheap. A codec with the same
/// dictionaries and base items can read the frames of any other; the error of another codec names what it lacks.
///
/// ```
/// use forerunner_context::{BaseItems, Codec, Item, Snapshot};
///
/// let prompt = Item::new("you are a careful reviewer ".repeat(40).into_bytes());
/// let codec = Codec::default().with_bases(BaseItems::new([prompt.clone()])).with_prefix();
/// let mut snapshot = Snapshot::new();
/// snapshot.push_item(prompt)?;
/// let frame = codec.full(&snapshot)?;
/// assert!(frame.as_bytes().len() < 30);
/// assert_eq!(codec.apply(frame.as_bytes(), &Snapshot::new())?, snapshot);
/// # Ok::<(), forerunner_context::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Codec {
    dictionary: Option<Dictionary>,
    known: Dictionaries,
    bases: BaseItems,
    prefix: bool,
}

impl Codec {
    /// Writes with this dictionary, and reads frames that name it.
    ///
    /// # Errors
    /// [`Error::DictionaryClash`] when another one known has the same name.
    pub fn with_dictionary(mut self, dictionary: Dictionary) -> Result<Self, Error> {
        self.known.insert(dictionary.clone())?;
        self.dictionary = Some(dictionary);
        Ok(self)
    }

    /// Reads frames that name this dictionary, an older one, without writing with it.
    ///
    /// # Errors
    /// [`Error::DictionaryClash`] when another one known has the same name.
    pub fn knowing(mut self, dictionary: Dictionary) -> Result<Self, Error> {
        self.known.insert(dictionary)?;
        Ok(self)
    }

    /// Names these items instead of sending them.
    #[must_use]
    pub fn with_bases(mut self, bases: BaseItems) -> Self {
        self.bases = bases;
        self
    }

    /// Lets a delta of more than 256 bytes refer to the text of its parent where that makes it shorter.
    #[must_use]
    pub fn with_prefix(mut self) -> Self {
        self.prefix = true;
        self
    }

    /// Encodes a whole snapshot: the base of a new chain. The same snapshot always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::FrameSize`] when the frame is larger than the limits of `snapshot` allow.
    pub fn full(&self, snapshot: &Snapshot) -> Result<Frame, Error> {
        write(&Delta::full_with(snapshot, &self.bases), None, self, snapshot.limits())
    }

    /// Encodes what turns `parent` into `next`. The same snapshots always give the same bytes.
    ///
    /// # Errors
    /// [`Error::FrameSize`] or [`Error::DecodedSize`] when the change is larger than the limits of `next` allow.
    pub fn delta(&self, parent: &Snapshot, next: &Snapshot) -> Result<Frame, Error> {
        write(&Delta::diff_with(parent, next, &self.bases), Some(parent), self, next.limits())
    }

    /// Reads a frame back, under the limits of `parent`. A full frame uses nothing else of it.
    ///
    /// # Errors
    /// Any error about a frame: its bytes are never trusted, and never make this panic. [`Error::Parent`] when it was
    /// made from another snapshot, [`Error::Dictionary`] or [`Error::BaseItem`] when something it names is not at hand.
    pub fn decode(&self, bytes: &[u8], parent: &Snapshot) -> Result<Delta, Error> {
        let packed = Packed::parse(bytes, self, parent.limits())?;
        if let Some(expected) = packed.header.parent {
            check_parent(expected, parent.root().tag())?;
        }
        packed.unpack(parent)
    }

    /// Reads a frame and applies it to its parent.
    ///
    /// # Errors
    /// Those of [`Codec::decode`] and [`Delta::apply`].
    pub fn apply(&self, bytes: &[u8], parent: &Snapshot) -> Result<Snapshot, Error> {
        self.decode(bytes, parent)?.apply(parent)
    }

    /// Returns the dictionary that frames are written with.
    pub fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.as_ref()
    }

    /// Returns the base items that frames may name.
    pub fn bases(&self) -> &BaseItems {
        &self.bases
    }

    pub(crate) fn known(&self, id: DictionaryId) -> Result<&Dictionary, Error> {
        self.known.get(id)
    }

    pub(crate) fn refers_to_parent(&self) -> bool {
        self.prefix
    }
}
