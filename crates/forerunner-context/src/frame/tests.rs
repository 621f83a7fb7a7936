use super::{
    v2::{COUNT_SHIFT, DELTA, DICTIONARY, KEEP, ONE_BLOCK, PREFIX, ZSTD},
    *,
};
use crate::{
    BaseItems, Delta, DictionaryId, Item, Limits, Op,
    pack::{Reference, pack},
    train::tests::{dictionary, sessions},
    wire::put_number,
};

const BASE_HEADER: usize = 2 + 8;

fn snapshot(texts: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    texts.iter().for_each(|text| snapshot.push(text).unwrap());
    snapshot
}

fn decode(bytes: &[u8]) -> Result<Delta, Error> {
    Codec::default().decode(bytes, &Snapshot::new())
}

/// A frame with any fields and a right checksum, as only a hostile writer makes.
fn forged(flags: u8, fields: &[u8]) -> Vec<u8> {
    let mut bytes = [&[MAGIC, flags][..], &[7; 8], fields].concat();
    bytes.extend_from_slice(&checksum(&bytes));
    bytes
}

fn numbers(values: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|&value| put_number(&mut out, value));
    out
}

const fn ops(count: u8) -> u8 {
    count << COUNT_SHIFT
}

/// A codec that uses everything, and a history of an agent that it was made for.
fn rich() -> (Codec, Vec<Snapshot>) {
    let turns = &sessions()[3];
    let shared = Item::new(turns[1].as_slice());
    let codec = Codec::default().with_dictionary(dictionary()).unwrap();
    let codec = codec.with_bases(BaseItems::new([shared])).with_prefix();
    let mut snapshots = vec![Snapshot::new()];
    for turn in turns.iter().take(5) {
        let mut next = snapshots.last().unwrap().clone();
        next.push(turn).unwrap();
        snapshots.push(next);
    }
    // An item that was dropped and returns changed, too long for a short frame.
    let noise: String = (0..30u8).map(|at| blake3::hash(&[at]).to_hex().to_string()).collect();
    for texts in [[noise.as_str(), "", "x"], ["x", &noise[..900], "y"]] {
        snapshots.push(snapshot(&texts));
    }
    (codec, snapshots)
}

fn rich_frames(codec: &Codec, snapshots: &[Snapshot]) -> Vec<Vec<u8>> {
    let deltas = snapshots.windows(2).map(|pair| codec.delta(&pair[0], &pair[1]).unwrap().into_bytes());
    deltas.collect()
}

/// Fails when the layout changes: then use another magic, and still read this one.
#[test]
fn the_layout_is_the_documented_one() {
    let (old, new) = (snapshot(&["system", "old"]), snapshot(&["system", "new", ""]));
    let mut expected = vec![0xfc, DELTA | ops(2)];
    expected.extend_from_slice(&new.root().as_bytes()[..8]);
    expected.extend_from_slice(&old.root().as_bytes()[..4]);
    expected.extend_from_slice(&[3, 0, 7, 3, 0]); // copy 1 from 0, insert 2 of 3 and 0 bytes
    expected.extend_from_slice(b"new");
    let hash = blake3::hash(&expected);
    expected.extend_from_slice(&hash.as_bytes()[..4]);
    assert_eq!(Frame::delta(&old, &new).unwrap().into_bytes(), expected);
}

#[test]
fn an_appended_item_costs_20_bytes_and_itself() {
    let (old, new) = (snapshot(&["a", "b"]), snapshot(&["a", "b", "more"]));
    let frame = Frame::delta(&old, &new).unwrap();
    assert_eq!(frame.as_bytes()[1], DELTA | KEEP | ops(1));
    assert_eq!(frame.as_bytes().len(), 20 + "more".len());
}

#[test]
fn a_packed_payload_is_the_blocks_of_a_zstd_frame() {
    let text = "again and ".repeat(20);
    let frame = Frame::full(&snapshot(&[&text])).unwrap();
    let fields = numbers(&[3 + 1, text.len()]);
    let blocks_at = BASE_HEADER + fields.len();
    assert_eq!(&frame.as_bytes()[BASE_HEADER..blocks_at], fields);
    assert_eq!(frame.as_bytes()[1], ZSTD | ONE_BLOCK | ops(1));
    // Magic, single segment with one byte of content size, last compressed block of a size: a frame that any zstd reads.
    let block = &frame.as_bytes()[blocks_at..frame.as_bytes().len() - 4];
    let zstd =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, text.len() as u8, (block.len() as u8) << 3 | 5, 0, 0][..], block].concat();
    assert_eq!(zstd::bulk::decompress(&zstd, 1_000).unwrap(), text.as_bytes());
}

#[test]
fn stored_frames_of_version_1_stay_readable() {
    let bytes = |hex: &str| -> Vec<u8> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.trim().as_bytes().chunks(2).map(byte).collect()
    };
    let codec = Codec::default();
    let full = snapshot(&["you are a helper", &"again and ".repeat(20)]);
    let restored = codec.apply(&bytes(include_str!("../../testdata/full-v1.hex")), &Snapshot::new());
    assert_eq!(restored.as_ref(), Ok(&full));
    let next = snapshot(&["you are a helper", "in short: again", &"once more and ".repeat(20)]);
    let delta = bytes(include_str!("../../testdata/delta-v1.hex"));
    assert_eq!(codec.apply(&delta, &full), Ok(next));
    for at in 0..delta.len() {
        assert!(codec.apply(&delta[..at], &full).is_err(), "cut at {at}");
        for flip in 1..=u8::MAX {
            let mut bad = delta.clone();
            bad[at] ^= flip;
            assert!(codec.apply(&bad, &full).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
}

#[test]
fn every_means_of_the_codec_is_used_and_comes_back() {
    let (codec, snapshots) = rich();
    let frames = rich_frames(&codec, &snapshots);
    let used: Vec<u8> = frames.iter().map(|frame| frame[1] & (ZSTD | DICTIONARY | PREFIX)).collect();
    assert!(used.contains(&(ZSTD | DICTIONARY)) && used.contains(&(ZSTD | DICTIONARY | PREFIX)), "{used:?}");
    for (frame, pair) in frames.iter().zip(snapshots.windows(2)) {
        assert_eq!(codec.apply(frame, &pair[0]).as_ref(), Ok(&pair[1]));
    }
    let named = Delta::diff_with(&snapshots[1], &snapshots[2], codec.bases());
    assert!(matches!(named.ops(), [Op::Copy { .. }, Op::Base { .. }]));
    assert_eq!(frames[1].len(), 27, "an item of the base set costs its name");
}

#[test]
fn every_flipped_or_cut_byte_is_an_error() {
    let (codec, snapshots) = rich();
    let mut cases: Vec<_> = snapshots.windows(2).zip(rich_frames(&codec, &snapshots)).collect();
    let whole = codec.full(&snapshots[4]).unwrap().into_bytes();
    cases.push((&snapshots[4..5], whole));
    for (pair, good) in cases {
        for at in 0..good.len() {
            assert!(codec.apply(&good[..at], &pair[0]).is_err(), "cut at {at}");
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(codec.apply(&bad, &pair[0]).is_err(), "byte {at} ^ {flip:#x}");
            }
        }
    }
}

#[test]
fn what_is_not_at_hand_is_named() {
    let (codec, snapshots) = rich();
    let frames = rich_frames(&codec, &snapshots);
    let tag = Item::new(sessions()[3][1].as_slice()).hash().tag();
    let lacking = Codec::default();
    assert_eq!(lacking.apply(&frames[0], &snapshots[0]), Err(Error::Dictionary { id: dictionary().id() }));
    assert_eq!(lacking.apply(&frames[1], &snapshots[1]), Err(Error::BaseItem { tag }));
    let other = lacking.knowing(dictionary()).unwrap();
    assert_eq!(other.apply(&frames[0], &snapshots[0]).as_ref(), Ok(&snapshots[1]));
}

#[test]
fn a_wrong_parent_is_named_before_anything_is_unpacked() {
    let (codec, snapshots) = rich();
    let [expected, found] = [&snapshots[1], &snapshots[3]].map(|snapshot| snapshot.root().tag().parent());
    let frame = codec.delta(&snapshots[1], &snapshots[2]).unwrap();
    assert_eq!(codec.apply(frame.as_bytes(), &snapshots[3]), Err(Error::Parent { expected, found }));
}

#[test]
fn damage_has_a_name() {
    let good = Frame::full(&snapshot(&["hello"])).unwrap().into_bytes();
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        decode(&bad).unwrap_err()
    };
    assert_eq!(decode(b""), Err(Error::Cut { offset: 0, needed_bytes: 1, frame_bytes: 0 }));
    assert_eq!(with(0, b'f'), Error::Magic { found: b'f' });
    assert_eq!(decode(b"FCX\x03"), Err(Error::Version { found: 3 }));
    assert_eq!(decode(b"FCY\x01"), Err(Error::Magic { found: b'F' }));
    assert_eq!(with(BASE_HEADER, 99), Error::Checksum { frame_bytes: good.len() });
    assert_eq!(decode(&good[..9]), Err(Error::Checksum { frame_bytes: 9 }));
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for flags in [KEEP, ZSTD | PREFIX, DELTA | PREFIX, DICTIONARY, DELTA | DICTIONARY, ONE_BLOCK] {
        assert_eq!(decode(&forged(flags, &[0; 20])), Err(Error::Flags { found: flags }));
    }
    let id = DictionaryId::from_bytes([0, 0, 1, 2]);
    assert_eq!(decode(&forged(ZSTD | DICTIONARY, &[0, 0, 1, 2])), Err(Error::Dictionary { id }));
}

#[test]
fn forged_numbers_are_refused_before_they_cost_memory() {
    let limits = Limits::default();
    let huge = usize::MAX / 8;
    for (count, fields, expected) in [
        (1, numbers(&[4, huge]), Error::DecodedSize { bytes: huge, limit: limits.decoded_bytes }),
        (1, numbers(&[7, usize::MAX, 6]), Error::DecodedSize { bytes: usize::MAX, limit: limits.decoded_bytes }),
        (1, numbers(&[0, 0]), Error::EmptyOp { index: 0 }),
        (1, numbers(&[1, 0]), Error::EmptyOp { index: 0 }),
        (1, numbers(&[2, 0]), Error::EmptyOp { index: 0 }),
        (1, numbers(&[3 * huge, 0]), Error::Items { items: huge, limit: limits.items }),
        (2, numbers(&[3 * 40_000, 0, 3 * 40_000, 0]), Error::Items { items: 80_000, limit: limits.items }),
    ] {
        assert_eq!(decode(&forged(ops(count), &fields)), Err(expected));
    }
    for (count, fields) in [
        (3, numbers(&[huge, 0])),
        (1, numbers(&[3 * 9_000 + 1, 0])),
        (1, numbers(&[3 * 9_000 + 2, 0])),
        (2, numbers(&[4, 0])),
    ] {
        assert!(matches!(decode(&forged(ops(count), &fields)), Err(Error::Cut { .. })));
    }
}

#[test]
fn a_bomb_is_refused() {
    let packed = pack(&[0; 1_000_000], Reference::Nothing).unwrap();
    assert!(packed.len() < 100);
    let bomb = |declared: usize| forged(ZSTD | ops(1), &[&numbers(&[4, declared])[..], &packed[..]].concat());
    assert!(matches!(decode(&bomb(1_000)), Err(Error::Payload { .. })));
    let tight = Snapshot::with_limits(Limits { decoded_bytes: 999_999, ..Limits::default() });
    let refused = Codec::default().decode(&bomb(1_000_000), &tight);
    assert_eq!(refused, Err(Error::DecodedSize { bytes: 1_000_000, limit: 999_999 }));
    assert!(decode(&bomb(1_000_000)).is_ok());
}

#[test]
fn contents_stay_out_of_logs() {
    let (old, new) = (snapshot(&["a"]), snapshot(&["a", "secret"]));
    let payload = format!("{:?}", "secret".as_bytes());
    assert!(!format!("{:?}", Frame::delta(&old, &new).unwrap()).contains(&payload));
    assert!(!format!("{:?}", Delta::diff(&old, &new)).contains(&payload));
}

#[test]
fn a_full_frame_cannot_copy() {
    let delta = decode(&forged(ops(1), &numbers(&[3, 0]))).unwrap();
    let refused = delta.apply(&snapshot(&["a"]));
    assert_eq!(refused, Err(Error::CopyRange { start: 0, len: 1, items: 0 }));
}

#[test]
fn a_frame_over_its_limit_is_neither_written_nor_read() {
    let frame = Frame::full(&snapshot(&["0123456789"])).unwrap();
    let bytes = frame.as_bytes().len();
    let limits = Limits { frame_bytes: bytes - 1, ..Limits::default() };
    let refused = Error::FrameSize { bytes, limit: bytes - 1 };
    let mut tight = Snapshot::with_limits(limits);
    assert_eq!(Codec::default().decode(frame.as_bytes(), &tight), Err(refused.clone()));
    tight.push("0123456789").unwrap();
    assert_eq!(Frame::full(&tight), Err(refused));
}
