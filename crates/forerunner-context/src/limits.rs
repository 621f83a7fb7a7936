//! How large things may get.

use serde::{Deserialize, Serialize};

use crate::Error;

const MIB: usize = 1024 * 1024;

/// How large contexts, frames and chains may get.
///
/// A snapshot has its limits and a chain its own. Both apply to writing too: what was stored under some limits can be
/// restored under them. Every bound is checked before memory is allocated. Any value is valid; 0 rejects everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one encoded frame. Default 16 MiB.
    pub frame_bytes: usize,
    /// Bytes of all items of one snapshot, and of what one frame inserts. Default 64 MiB.
    pub decoded_bytes: usize,
    /// Items of one snapshot. Default 65,536.
    pub items: usize,
    /// Frames of one chain, base included. Default 256.
    pub chain_frames: usize,
    /// Bytes that all frames of one chain insert together, dead ones included. Default 256 MiB.
    pub restored_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 16 * MIB,
            decoded_bytes: 64 * MIB,
            items: 65_536,
            chain_frames: 256,
            // Compaction at half keeps a chain below twice its snapshot; twice that leaves room for one more turn.
            restored_bytes: 256 * MIB,
        }
    }
}

impl Limits {
    pub(crate) fn check_frame(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.frame_bytes {
            return Err(Error::FrameSize { bytes, limit: self.frame_bytes });
        }
        Ok(())
    }

    pub(crate) fn check_decoded(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.decoded_bytes {
            return Err(Error::DecodedSize { bytes, limit: self.decoded_bytes });
        }
        Ok(())
    }

    pub(crate) fn check_items(&self, items: usize) -> Result<(), Error> {
        if items > self.items {
            return Err(Error::Items { items, limit: self.items });
        }
        Ok(())
    }

    pub(crate) fn check_chain(&self, frames: usize) -> Result<(), Error> {
        if frames > self.chain_frames {
            return Err(Error::ChainLength { frames, limit: self.chain_frames });
        }
        Ok(())
    }

    pub(crate) fn check_restored(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.restored_bytes {
            return Err(Error::RestoredSize { bytes, limit: self.restored_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_inclusive_and_its_error_names_both_values() {
        let limits = Limits { items: 3, ..Limits::default() };
        assert_eq!(limits.check_items(3), Ok(()));
        let text = limits.check_items(4).unwrap_err().to_string();
        assert_eq!(text, "context has 4 items, limit 3; compact it, or raise items");
    }

    #[test]
    fn missing_keys_take_their_defaults_and_unknown_keys_are_refused() {
        let limits: Limits = serde_json::from_str(r#"{"items": 7}"#).unwrap();
        assert_eq!(limits, Limits { items: 7, ..Limits::default() });
        assert!(serde_json::from_str::<Limits>(r#"{"item": 7}"#).is_err());
    }
}
