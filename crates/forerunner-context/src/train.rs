//! Training a dictionary on what agents of one type send.

use crate::{
    Dictionary,
    pack::{Reference, pack},
};

/// The sizes that are tried, in bytes. Larger ones win nothing on agents' deltas and cost loading time.
pub const CANDIDATE_BYTES: [usize; 3] = [16 * 1024, 32 * 1024, 64 * 1024];
/// A dictionary that saves less than this share of the bytes is not worth a version of its own.
pub const MIN_WIN: f64 = 0.03;
/// One session in this many is reserved to judge the candidates.
const HELD_OUT: usize = 5;
/// The trainer needs more than this; it learns nothing from less.
const MIN_SAMPLES: usize = 8;
/// Payloads are cut to this length: the trainer's work grows with them, and no dictionary contains more.
const MAX_SAMPLE_BYTES: usize = 128 * 1024;
/// Most bytes to train on: 100 times the largest dictionary, as zstd advises, and some more.
const MAX_TRAINING_BYTES: usize = 16 * 1024 * 1024;

/// The payloads of one session's deltas, in order.
pub type Payloads = Vec<Vec<u8>>;

/// Trains a dictionary on the payloads of deltas, by session.
///
/// Train for one type of agent, and never across tenants: a dictionary contains text of its training data. The size is
/// the one of [`CANDIDATE_BYTES`] that packs the reserved sessions, one in five, best; the dictionary is then trained
/// on all of them. `None` when it saves less than [`MIN_WIN`] there, or when there is too little to learn from. The
/// same sessions give the same dictionary.
pub fn train(sessions: &[Payloads]) -> Option<Dictionary> {
    let (learnt, judged) = split(sessions);
    let without = packed_bytes(&judged, Reference::Nothing);
    let with = |size: &usize| {
        let candidate = of_size(&learnt, *size)?;
        Some((packed_bytes(&judged, Reference::Dictionary(&candidate)), *size))
    };
    let (best, size) = CANDIDATE_BYTES.iter().filter_map(with).min()?;
    let wins = best as f64 <= without as f64 * (1.0 - MIN_WIN);
    let all: Vec<_> = sessions.iter().flatten().collect();
    if wins { of_size(&all, size) } else { None }
}

/// Returns the payloads to learn from and those to judge by: all for both when there are few sessions.
fn split(sessions: &[Payloads]) -> (Vec<&Vec<u8>>, Vec<&Vec<u8>>) {
    if sessions.len() < HELD_OUT {
        let all: Vec<_> = sessions.iter().flatten().collect();
        return (all.clone(), all);
    }
    let part = |held_out: bool| {
        let sessions = sessions.iter().enumerate();
        let chosen = sessions.filter(move |(index, _)| (index % HELD_OUT == HELD_OUT - 1) == held_out);
        chosen.flat_map(|(_, payloads)| payloads).collect()
    };
    (part(false), part(true))
}

/// Trains a dictionary of at most `size` bytes; `None` when there is too little to learn from.
fn of_size(payloads: &[&Vec<u8>], size: usize) -> Option<Dictionary> {
    let (mut data, mut sizes) = (Vec::new(), Vec::new());
    for payload in payloads.iter().filter(|payload| payload.len() >= 8) {
        let sample = &payload[..payload.len().min(MAX_SAMPLE_BYTES)];
        if data.len() + sample.len() > MAX_TRAINING_BYTES {
            break;
        }
        data.extend_from_slice(sample);
        sizes.push(sample.len());
    }
    if sizes.len() < MIN_SAMPLES {
        return None;
    }
    let bytes = zstd::dict::from_continuous(&data, &sizes, size).ok()?;
    Dictionary::load(bytes).ok()
}

/// The packed size of the payloads in bytes; a longer packed payload is replaced by the raw one.
fn packed_bytes(payloads: &[&Vec<u8>], reference: Reference<'_>) -> usize {
    let packed = |raw: &&Vec<u8>| pack(raw, reference).map_or(raw.len(), |blocks| blocks.len().min(raw.len()));
    payloads.iter().map(packed).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// Ten sessions of twelve turns each, alike in form and different in content.
    pub(crate) fn sessions() -> Vec<Payloads> {
        let turn = |session: usize, turn: usize| {
            let id = (session * 7919 + turn * 104_729) % 1_000_003;
            format!(
                r#"{{"role":"assistant","content":"I looked up reservation {id} for you","status":"{}"}}"#,
                ["confirmed", "cancelled", "waiting for payment"][id % 3]
            )
        };
        (0..10).map(|session| (0..12).map(|no| turn(session, no).into_bytes()).collect()).collect()
    }

    /// A dictionary for tests, trained once.
    pub(crate) fn dictionary() -> Dictionary {
        static TRAINED: OnceLock<Dictionary> = OnceLock::new();
        TRAINED.get_or_init(|| train(&sessions()).unwrap()).clone()
    }

    #[test]
    fn the_same_sessions_give_the_same_dictionary_and_it_helps() {
        let trained = dictionary();
        assert_eq!(train(&sessions()), Some(trained.clone()));
        let payload = br#"{"role":"assistant","content":"I looked up reservation 12 for you","status":"confirmed"}"#;
        let with = pack(payload, Reference::Dictionary(&trained)).unwrap();
        let without = pack(payload, Reference::Nothing).unwrap();
        assert!(with.len() * 2 < without.len(), "{} against {}", with.len(), without.len());
    }

    #[test]
    fn nothing_is_learnt_from_noise_or_from_too_little() {
        assert_eq!(train(&[]), None);
        assert_eq!(train(&sessions()[..0]), None);
        assert_eq!(train(&[vec![b"one payload".to_vec()]]), None);
        let mut hasher = blake3::Hasher::new();
        let mut noise = || {
            hasher.update(b"more");
            let mut bytes = vec![0; 500];
            hasher.finalize_xof().fill(&mut bytes);
            bytes
        };
        let sessions: Vec<Payloads> = (0..10).map(|_| (0..10).map(|_| noise()).collect()).collect();
        assert_eq!(train(&sessions), None);
    }
}
