//! The measurements of one corpus.

use anyhow::{Context, ensure};
use forerunner_context::{BaseItems, Codec, Delta, Op, Payloads, Snapshot, train};
use indicatif::ProgressBar;
use tokio::time::Instant;

use super::{
    chains::{Cost, RESTORES_PER_TURN, Turns},
    corpus::Session,
    edits::Edit,
    report::{EditRatio, Quantiles, Report},
    split::Parts,
};

/// What agents of one type may share.
const MAX_BASE_BYTES: usize = 16 * 1024 * 1024;
/// Each time is the least of so many, so that an interruption does not count.
const REPETITIONS: usize = 3;
/// The level that full snapshots are packed with for comparison.
const FULL_LEVEL: i32 = 3;

/// Learns from one part and measures the other.
pub fn measure(corpus: &str, parts: &Parts<'_>, bar: &ProgressBar) -> anyhow::Result<Report> {
    let mut codecs = Vec::with_capacity(Edit::ALL.len());
    for edit in Edit::ALL {
        codecs.push(learn(&parts.train, edit)?);
    }
    let turns: usize = parts.test.iter().map(|session| session.turns().len()).sum();
    bar.set_position(0);
    bar.set_length((turns * Edit::ALL.len()) as u64);
    let mut sums = Sums::default();
    for session in &parts.test {
        sums.add(&codecs, session, bar).with_context(|| format!("session {}", session.id))?;
    }
    Ok(sums.report(corpus, turns))
}

/// Makes the codec of both sides: shared items, and a dictionary of the rest of each turn, for agents that edit their
/// history in this way.
pub fn learn(sessions: &[&Session], edit: Edit) -> anyhow::Result<Codec> {
    let contexts: Vec<_> = sessions.iter().map(|session| edit.contexts(session)).collect::<Result<_, _>>()?;
    let bases = BaseItems::common(contexts.iter().filter_map(|contexts| contexts.last()), MAX_BASE_BYTES);
    let payloads = |contexts: &Vec<Snapshot>| -> Payloads {
        let first = contexts.first().map(|first| Delta::full_with(first, &bases));
        let deltas = contexts.windows(2).map(|pair| Delta::diff_with(&pair[0], &pair[1], &bases));
        first.into_iter().chain(deltas).map(|delta| delta.payload().to_vec()).collect()
    };
    let payloads: Vec<Payloads> = contexts.iter().map(payloads).collect();
    let codec = Codec::default().with_bases(bases.clone()).with_prefix();
    Ok(match train(&payloads) {
        Some(dictionary) => codec.with_dictionary(dictionary)?,
        None => codec,
    })
}

#[derive(Default)]
struct Sums {
    full_json: u64,
    zstd3_full: u64,
    plain_delta: u64,
    cold: u64,
    /// In the order of [`Edit::ALL`].
    warm: [u64; 4],
    costs: [[Cost; RESTORES_PER_TURN.len()]; 4],
    encode_us: Vec<f64>,
    zstd3_full_us: Vec<f64>,
    decode_us: Vec<f64>,
}

impl Sums {
    fn add(&mut self, codecs: &[Codec], session: &Session, bar: &ProgressBar) -> anyhow::Result<()> {
        for (at, (edit, codec)) in Edit::ALL.into_iter().zip(codecs).enumerate() {
            let contexts = edit.contexts(session)?;
            if edit == Edit::Append {
                self.warm[at] += self.appended(codec, &contexts)?;
            } else {
                self.warm[at] += moved(codec, &contexts)?;
            }
            let turns = Turns::new(codec, &contexts)?;
            for (sum, restores) in self.costs[at].iter_mut().zip(RESTORES_PER_TURN) {
                let cost = turns.cost(restores)?;
                sum.rule += cost.rule;
                sum.optimum += cost.optimum;
            }
            bar.inc(contexts.len() as u64);
        }
        Ok(())
    }

    /// Sends a session turn by turn, and measures the time beside that of packing each context as a whole.
    fn appended(&mut self, codec: &Codec, contexts: &[Snapshot]) -> anyhow::Result<u64> {
        let mut packer = zstd::bulk::Compressor::new(FULL_LEVEL)?;
        let mut parent = Snapshot::new();
        let mut moved = 0;
        for context in contexts {
            let json = json(context);
            let added = &context.items()[parent.len()..];
            let (frame, encode_us) = timed(|| {
                // The work of an agent: it gets the messages, hashes them, encodes.
                let mut next = parent.clone();
                added.iter().try_for_each(|item| next.push(item.bytes()))?;
                codec.delta(&parent, &next)
            });
            let (packed, zstd3_full_us) = timed(|| packer.compress(&json));
            let frame = frame?;
            let (decoded, decode_us) = timed(|| codec.apply(frame.as_bytes(), &parent));
            ensure!(decoded? == *context, "a turn came back changed; this is a bug");
            moved += frame.as_bytes().len() as u64;
            self.full_json += json.len() as u64;
            self.zstd3_full += packed?.len() as u64;
            self.plain_delta += plain_bytes(&Delta::diff(&parent, context)) as u64;
            self.cold += codec.full(context)?.as_bytes().len() as u64;
            self.encode_us.push(encode_us);
            self.zstd3_full_us.push(zstd3_full_us);
            self.decode_us.push(decode_us);
            parent = context.clone();
        }
        Ok(moved)
    }

    fn report(self, corpus: &str, turns: usize) -> Report {
        let [append, window, compaction, marker] = self.warm;
        let ratio = |edit: u64| edit as f64 / append.max(1) as f64;
        let costs = self.costs.iter().flatten();
        Report {
            corpus: corpus.to_owned(),
            turns,
            full_json_bytes: self.full_json,
            zstd3_full_bytes: self.zstd3_full,
            delta_bytes: append,
            plain_delta_bytes: self.plain_delta,
            cold_bytes: self.cold,
            edit_ratio: EditRatio { window: ratio(window), compaction: ratio(compaction), marker: ratio(marker) },
            encode_us: Quantiles::of(self.encode_us),
            zstd3_full_us: Quantiles::of(self.zstd3_full_us),
            decode_us: Quantiles::of(self.decode_us),
            compaction_cost_ratio: costs.map(|cost| cost.rule / cost.optimum).fold(1.0, f64::max),
        }
    }
}

/// Moves a session turn by turn; answers the bytes.
fn moved(codec: &Codec, contexts: &[Snapshot]) -> anyhow::Result<u64> {
    let mut parent = &Snapshot::new();
    let mut moved = 0;
    for context in contexts {
        let frame = codec.delta(parent, context)?;
        ensure!(codec.apply(frame.as_bytes(), parent)? == *context, "a turn came back changed; this is a bug");
        moved += frame.as_bytes().len() as u64;
        parent = context;
    }
    Ok(moved)
}

/// The bytes of a turn as an agent process sees it in JSON: `append`, or the steps of an `edit`.
fn plain_bytes(delta: &Delta) -> usize {
    /// `{"append":[…]}`, or `{"edit":[…]}`.
    const ENVELOPE: usize = r#"{"append":[]}"#.len();
    /// `{"insert":[…]}` and a comma.
    const INSERT: usize = r#"{"insert":[]},"#.len();
    let steps = delta.ops().iter().map(|op| match op {
        Op::Copy { start, len } => format!("{{\"copy\":[{start},{len}]}},").len(),
        // An item and a comma each.
        Op::Insert { lens } => INSERT + lens.len(),
        Op::Base { items } => INSERT + items.iter().map(|item| item.size_bytes() + 1).sum::<usize>(),
    });
    let steps: usize = match delta.ops() {
        [Op::Copy { start: 0, .. }, Op::Insert { lens }] | [Op::Insert { lens }] => lens.len(),
        _ => steps.sum(),
    };
    ENVELOPE + steps + delta.payload().len()
}

/// The context as one JSON array: what moves without this format.
fn json(context: &Snapshot) -> Vec<u8> {
    let items: Vec<&[u8]> = context.items().iter().map(|item| item.bytes()).collect();
    [b"[", &*items.join(&b","[..]), b"]"].concat()
}

/// Runs `work` a few times. Returns its result and the least time in microseconds.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut least = f64::INFINITY;
    let mut run = || {
        let start = Instant::now();
        let result = work();
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
        result
    };
    let mut result = run();
    for _ in 1..REPETITIONS {
        result = run();
    }
    (result, least)
}
