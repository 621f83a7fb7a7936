//! Streams that are whole, cut, damaged, and not what they seem.

use proptest::prelude::*;

use super::*;

fn window(bytes: usize) -> StreamWindow {
    StreamWindow::new(bytes).unwrap()
}

fn small() -> StreamWindow {
    window(64 << 10)
}

/// Text of 16 letters without repetitions.
fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise.into_iter().map(|byte| b'a' + byte % 16).collect()
}

/// All that `packed` yields, fed in pieces of `step` bytes.
fn unpacked(unpacker: &mut StreamUnpacker, packed: &[u8], step: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for piece in packed.chunks(step.max(1)) {
        let mut taken = 0;
        loop {
            let before = out.len();
            let took = unpacker.unpack(&piece[taken..], &mut out)?;
            taken += took;
            if took == 0 && out.len() == before {
                break;
            }
        }
        assert_eq!(taken, piece.len(), "all of it is taken");
    }
    Ok(out)
}

fn packed(packer: &mut StreamPacker, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packer.pack(message, &mut out).unwrap();
    out
}

#[test]
fn each_message_is_there_as_soon_as_it_is_packed_and_what_was_said_is_nearly_free() {
    let mut packer = StreamPacker::new(small()).unwrap();
    let mut unpacker = StreamUnpacker::new(small()).unwrap();
    let prompt = text(1, 3_000);
    for turn in 0..50u64 {
        let message = [format!("{{\"turn\":{turn}}}").as_bytes(), &prompt].concat();
        let bytes = packed(&mut packer, &message);
        assert!(turn == 0 || bytes.len() < 60, "turn {turn} takes {} bytes", bytes.len());
        assert_eq!(unpacked(&mut unpacker, &bytes, 7).unwrap(), message);
        assert!(unpacker.is_open());
    }
}

#[test]
fn what_is_beyond_the_window_is_sent_again() {
    let mut packer = StreamPacker::new(window(16 << 10)).unwrap();
    let prompt = text(1, 8_000);
    let first = packed(&mut packer, &prompt).len();
    assert!(packed(&mut packer, &prompt).len() < 100);
    packed(&mut packer, &text(2, 40_000));
    assert!(packed(&mut packer, &prompt).len() > first / 2);
}

#[test]
fn a_window_is_a_power_of_two_within_bounds() {
    for bytes in [0, 1, 512, 1_000, (1 << 20) - 1, 16 << 20, usize::MAX] {
        assert_eq!(StreamWindow::new(bytes), Err(Error::StreamWindow { bytes }));
    }
    assert_eq!(window(1 << 20).bytes(), 1 << 20);
}

#[test]
fn a_larger_window_is_refused_before_it_is_allocated() {
    let mut packer = StreamPacker::new(window(8 << 20)).unwrap();
    let bytes = packed(&mut packer, b"hello");
    let mut unpacker = StreamUnpacker::new(small()).unwrap();
    let refused = unpacked(&mut unpacker, &bytes, 100).unwrap_err();
    assert!(matches!(&refused, Error::Stream { reason } if reason.contains("too much memory")), "{refused}");
}

#[test]
fn a_bomb_is_unpacked_a_little_at_a_time() {
    let mut packer = StreamPacker::new(small()).unwrap();
    let bomb = packed(&mut packer, &vec![b'x'; 64 << 20]);
    assert!(bomb.len() < 10_000);
    let (mut unpacker, mut out) = (StreamUnpacker::new(small()).unwrap(), Vec::new());
    unpacker.unpack(&bomb, &mut out).unwrap();
    assert!(out.len() <= CHUNK_BYTES);
}

#[test]
fn frames_may_follow_each_other() {
    let mut unpacker = StreamUnpacker::new(small()).unwrap();
    let (one, two) = (zstd::encode_all(&b"one\n"[..], 1).unwrap(), zstd::encode_all(&b"two\n"[..], 19).unwrap());
    assert_eq!(unpacked(&mut unpacker, &[one, two].concat(), 3).unwrap(), b"one\ntwo\n");
    assert!(!unpacker.is_open());
}

#[test]
fn neither_plain_text_nor_a_damaged_header_is_a_stream() {
    // The second has a block of the type that is reserved.
    for bytes in [&b"{\"jsonrpc\":\"2.0\"}\n"[..], &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x30, 7, 0, 0, 0, 0, 0]] {
        let mut unpacker = StreamUnpacker::new(small()).unwrap();
        assert!(matches!(unpacked(&mut unpacker, bytes, 4), Err(Error::Stream { .. })));
    }
}

#[test]
fn both_sides_stay_within_the_memory_that_is_told() {
    let window = window(1 << 20);
    let (mut packer, mut unpacker) = (StreamPacker::new(window).unwrap(), StreamUnpacker::new(window).unwrap());
    for seed in 0..4 {
        let bytes = packed(&mut packer, &text(seed, 1 << 20));
        unpacked(&mut unpacker, &bytes, 8 << 10).unwrap();
    }
    let (packs, unpacks) = (packer.context.sizeof(), unpacker.context.sizeof());
    assert!(packs < window.bytes() + (2 << 20) + (1 << 19), "packing takes {packs} bytes");
    assert!(unpacks < window.bytes() + (1 << 19), "unpacking takes {unpacks} bytes");
}

proptest! {
    /// Any messages come out unchanged, however they arrive.
    #[test]
    fn what_goes_in_comes_out(messages in proptest::collection::vec((0u64..5, 0usize..20_000), 1..20), step in 1usize..9_000) {
        let mut packer = StreamPacker::new(small()).unwrap();
        let mut unpacker = StreamUnpacker::new(small()).unwrap();
        let messages: Vec<_> = messages.into_iter().map(|(seed, bytes)| text(seed, bytes)).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|message| packed(&mut packer, message)).collect();
        prop_assert_eq!(unpacked(&mut unpacker, &stream, step).unwrap(), messages.concat());
    }

    /// Damage is an error, or other text; it never panics and never yields without bound.
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), flip in 1u8.., step in 1usize..500) {
        let mut packer = StreamPacker::new(small()).unwrap();
        let mut bytes = packed(&mut packer, &text(1, 5_000));
        bytes.extend(packed(&mut packer, &text(1, 5_000)));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut unpacker = StreamUnpacker::new(small()).unwrap();
        let yields = unpacked(&mut unpacker, &bytes, step);
        prop_assert!(yields.is_err() || yields.unwrap().len() <= 256 << 10);
    }
}
