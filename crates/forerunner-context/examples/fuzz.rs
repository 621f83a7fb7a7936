//! Mutates frames and chains, and decodes them: nothing may panic, and nothing wrong may pass.
//!
//! ```text
//! cargo run --release -p forerunner-context --example fuzz -- --seconds 60 --seed 1
//! ```
//!
//! Every input is a function of the seed and its number, which a failure prints; `--from NUMBER --count 1` repeats it.

use std::{
    error::Error as Failure,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use forerunner_context::{BaseItems, Chain, Codec, Item, Limits, Payloads, Snapshot, train};

/// Small, so that a decoder rejects early; large enough for the whole corpus.
const LIMITS: Limits =
    Limits { frame_bytes: 1 << 16, decoded_bytes: 1 << 18, items: 1 << 10, chain_frames: 32, restored_bytes: 1 << 20 };

fn main() -> Result<ExitCode, Box<dyn Failure>> {
    let options = Options::read(std::env::args().skip(1))?;
    let corpus = Corpus::build()?;
    let begin = tokio::time::Instant::now();
    let (mut number, mut accepted) = (options.from, 0u64);
    while number - options.from < options.count && begin.elapsed().as_secs() < options.seconds {
        for _ in 0..1_000.min(options.count - (number - options.from)) {
            let mut random = Random(options.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
            match catch_unwind(AssertUnwindSafe(|| corpus.run(&mut random))) {
                Ok(Ok(passed)) => accepted += u64::from(passed),
                Ok(Err(wrong)) => return Ok(failed(&options, number, &wrong)),
                Err(_) => return Ok(failed(&options, number, "panicked")),
            }
            number += 1;
        }
    }
    let count = number - options.from;
    println!("{count} executions in {} s, seed {}: no failure", begin.elapsed().as_secs(), options.seed);
    println!("{accepted} inputs were accepted, each of them equal to what was encoded");
    Ok(ExitCode::SUCCESS)
}

fn failed(options: &Options, number: u64, what: &str) -> ExitCode {
    eprintln!("execution {number} of seed {}: {what}", options.seed);
    ExitCode::FAILURE
}

struct Options {
    seconds: u64,
    seed: u64,
    from: u64,
    count: u64,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seconds: 60, seed: 1, from: 0, count: u64::MAX };
        while let Some(name) = args.next() {
            let value = args.next().and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| format!("{name} wants a whole number"))?;
            match name.as_str() {
                "--seconds" => options.seconds = value,
                "--seed" => options.seed = value,
                "--from" => options.from = value,
                "--count" => options.count = value,
                _ => return Err(format!("unknown {name}; use --seconds, --seed, --from, --count")),
            }
        }
        Ok(options)
    }
}

/// Contexts, and the frames that lead from each to the next, by codecs of all kinds.
struct Corpus {
    codecs: Vec<Codec>,
    contexts: Vec<Snapshot>,
    /// By codec: a full frame of each context, and the delta from the one before.
    full: Vec<Vec<Vec<u8>>>,
    deltas: Vec<Vec<Vec<u8>>>,
}

impl Corpus {
    fn build() -> Result<Self, Box<dyn Failure>> {
        let turn = |session: usize, turn: usize| {
            let id = (session * 7919 + turn * 104_729) % 1_000_003;
            format!(r#"{{"role":"assistant","content":"reservation {id} is {}"}}"#, ["confirmed", "gone"][id % 2])
        };
        let payloads = |session| -> Payloads { (0..20).map(|no| turn(session, no).into_bytes()).collect() };
        let sessions: Vec<Payloads> = (0..10).map(payloads).collect();
        let dictionary = train(&sessions).ok_or("no dictionary")?;
        let bases = BaseItems::new(sessions[1].iter().step_by(2).map(|bytes| Item::new(bytes.as_slice())));
        let plain = Codec::default();
        let trained = plain.clone().with_dictionary(dictionary)?;
        let codecs = vec![plain.clone().with_prefix(), trained.clone(), trained.with_bases(bases).with_prefix(), plain];

        let mut contexts = vec![Snapshot::with_limits(LIMITS)];
        for no in 0..12 {
            let mut items = contexts[no].items().to_vec();
            match no % 4 {
                3 => drop(items.splice(0..2, [Item::new(turn(no, 99).into_bytes())])),
                2 => items.push(Item::new(turn(1, no).repeat(40).into_bytes())),
                _ => items.extend((0..3).map(|part| Item::new(turn(1, no + part).into_bytes()))),
            }
            contexts.push(Snapshot::from_items(items, LIMITS)?);
        }
        let (mut full, mut deltas) = (Vec::new(), Vec::new());
        for codec in &codecs {
            let whole = contexts.iter().map(|context| Ok(codec.full(context)?.into_bytes()));
            full.push(whole.collect::<Result<_, Box<dyn Failure>>>()?);
            let turns = contexts.windows(2).map(|pair| Ok(codec.delta(&pair[0], &pair[1])?.into_bytes()));
            deltas.push(turns.collect::<Result<_, Box<dyn Failure>>>()?);
        }
        Ok(Self { codecs, contexts, full, deltas })
    }

    /// Decodes one mutated frame or chain. Returns whether it was accepted.
    fn run(&self, random: &mut Random) -> Result<bool, String> {
        let codec = random.below(self.codecs.len());
        let begin = random.below(self.deltas[codec].len());
        if random.below(4) == 0 {
            return self.chain(random, codec, begin);
        }
        let mut frame = self.deltas[codec][begin].clone();
        // Half of them with a right checksum, so that what is behind it is tried.
        random.mutate(&mut frame, &self.deltas[codec]);
        if random.below(2) == 0 {
            reseal(&mut frame);
        }
        match self.codecs[codec].apply(&frame, &self.contexts[begin]) {
            Ok(next) => self.check(&next, "a frame"),
            Err(_) => Ok(false),
        }
    }

    fn chain(&self, random: &mut Random, codec: usize, begin: usize) -> Result<bool, String> {
        let mut frames = vec![self.full[codec][begin].clone()];
        let end = begin + random.below(self.deltas[codec].len() - begin + 1);
        frames.extend_from_slice(&self.deltas[codec][begin..end]);
        match random.below(4) {
            0 => drop(frames.remove(random.below(frames.len()))),
            1 => frames.insert(random.below(frames.len() + 1), frames[random.below(frames.len())].clone()),
            _ => {
                let at = random.below(frames.len());
                random.mutate(&mut frames[at], &self.deltas[codec]);
                if random.below(2) == 0 {
                    reseal(&mut frames[at]);
                }
            }
        }
        match Chain::restore_with(&self.codecs[codec], frames.iter().map(Vec::as_slice), &LIMITS) {
            Ok(snapshot) => self.check(&snapshot, "a chain"),
            Err(_) => Ok(false),
        }
    }

    /// What is accepted must be one of the contexts that were encoded: its root is 8 bytes of a hash.
    fn check(&self, found: &Snapshot, what: &str) -> Result<bool, String> {
        match self.contexts.contains(found) {
            true => Ok(true),
            false => Err(format!("{what} gave a context that was never encoded")),
        }
    }
}

/// Puts a right checksum at the end.
fn reseal(frame: &mut [u8]) {
    if let Some(end) = frame.len().checked_sub(4) {
        let checksum = blake3::hash(&frame[..end]);
        frame[end..].copy_from_slice(&checksum.as_bytes()[..4]);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Flips, sets, cuts, inserts, repeats or splices bytes, one to four times. Early bytes are hit more often.
    fn mutate(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(4) {
            let len = bytes.len();
            let near = if self.below(2) == 0 { len.min(32) } else { len };
            let at = self.below(near);
            match self.below(7) {
                _ if len == 0 => bytes.push(self.next() as u8),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, self.next() as u8][self.below(6)],
                2 => bytes.truncate(self.below(len)),
                3 => bytes.insert(at, self.next() as u8),
                4 => drop(bytes.remove(at)),
                5 => {
                    let end = (at + self.below(16)).min(len);
                    let run = bytes[at..end].to_vec();
                    bytes.splice(at..at, run);
                }
                _ => {
                    let other = &others[self.below(others.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
    }
}
