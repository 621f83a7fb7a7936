//! What storing and restoring a context costs, by the compaction rule and by the best plan in hindsight.

use forerunner_context::{BaseProbe, Chain, Codec, Error, FRAME_OVERHEAD_BYTES, Frame, Snapshot, Turn};

/// Restores a turn that are tried.
pub const RESTORES_PER_TURN: [f64; 5] = [0.01, 0.05, 0.2, 1.0, 5.0];

/// Bytes written and read, with the overhead of each frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// By the rule.
    pub rule: f64,
    /// By the best plan for the same turns.
    pub optimum: f64,
}

/// The turns of one session, encoded.
pub struct Turns<'a> {
    codec: &'a Codec,
    contexts: &'a [Snapshot],
    /// What turns each context but the first into the next.
    deltas: Vec<Frame>,
    /// Sizes of a full frame of each context.
    full_bytes: Vec<usize>,
}

impl<'a> Turns<'a> {
    /// Encodes every turn both ways. `contexts` is not empty.
    pub fn new(codec: &'a Codec, contexts: &'a [Snapshot]) -> Result<Self, Error> {
        let deltas = contexts.windows(2).map(|pair| codec.delta(&pair[0], &pair[1])).collect::<Result<_, _>>()?;
        let full = |context: &Snapshot| codec.full(context).map(|frame| frame.as_bytes().len());
        let full_bytes = contexts.iter().map(full).collect::<Result<_, _>>()?;
        Ok(Self { codec, contexts, deltas, full_bytes })
    }

    /// Compares the rule with the best plan.
    pub fn cost(&self, restores_per_turn: f64) -> Result<Cost, Error> {
        Ok(Cost { rule: self.by_rule(restores_per_turn)?, optimum: self.optimum(restores_per_turn) })
    }

    fn by_rule(&self, restores_per_turn: f64) -> Result<f64, Error> {
        let start = |context: &Snapshot| -> Result<_, Error> {
            let base = self.codec.full(context)?;
            Ok((Chain::start(&base, context.limits())?, BaseProbe::new(&base, context)))
        };
        let (mut chain, mut probe) = start(&self.contexts[0])?;
        let mut costs = ByteCosts::new(restores_per_turn);
        costs.turn(self.full_bytes[0], chain.encoded_bytes(), 1);
        for (delta, next) in self.deltas.iter().zip(&self.contexts[1..]) {
            let fresh_base_bytes = probe.fresh_base_bytes(self.codec, next)?;
            let turn = Turn { delta, next, restores_per_turn, fresh_base_bytes };
            let written = match chain.should_compact(&turn) {
                Some(_) => {
                    (chain, probe) = start(next)?;
                    chain.encoded_bytes()
                }
                None => {
                    chain.append(&turn)?;
                    delta.as_bytes().len()
                }
            };
            costs.turn(written, chain.encoded_bytes(), chain.len());
        }
        Ok(costs.bytes)
    }

    /// The cheapest way to cut the turns into chains, by dynamic programming over where the last one starts.
    fn optimum(&self, restores_per_turn: f64) -> f64 {
        let turns = self.contexts.len();
        let mut best = vec![f64::INFINITY; turns + 1];
        best[0] = 0.0;
        for base in 0..turns {
            let mut costs = ByteCosts { bytes: best[base], restores_per_turn };
            let mut chain_bytes = self.full_bytes[base];
            costs.turn(chain_bytes, chain_bytes, 1);
            best[base + 1] = best[base + 1].min(costs.bytes);
            for (frames, turn) in (2..).zip(base + 1..turns) {
                let delta = self.deltas[turn - 1].as_bytes().len();
                chain_bytes += delta;
                costs.turn(delta, chain_bytes, frames);
                best[turn + 1] = best[turn + 1].min(costs.bytes);
            }
        }
        best[turns]
    }
}

struct ByteCosts {
    bytes: f64,
    restores_per_turn: f64,
}

impl ByteCosts {
    fn new(restores_per_turn: f64) -> Self {
        Self { bytes: 0.0, restores_per_turn }
    }

    fn turn(&mut self, written: usize, chain_bytes: usize, frames: usize) {
        let read = (chain_bytes + frames * FRAME_OVERHEAD_BYTES) as f64;
        self.bytes += (written + FRAME_OVERHEAD_BYTES) as f64 + self.restores_per_turn * read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A context that grows by 200 bytes a turn.
    fn contexts(turns: usize) -> Vec<Snapshot> {
        let mut now = Snapshot::new();
        now.push("you are a helper ".repeat(100)).unwrap();
        let mut contexts = vec![now.clone()];
        for turn in 1..turns {
            now.push((0..3).map(|part| blake3_hex(turn * 3 + part)).collect::<String>()).unwrap();
            contexts.push(now.clone());
        }
        contexts
    }

    fn blake3_hex(seed: usize) -> String {
        forerunner_context::ItemHash::of(&seed.to_le_bytes()).to_string()
    }

    #[test]
    fn the_optimum_is_the_best_of_all_plans() {
        let (codec, contexts) = (Codec::default(), contexts(8));
        let turns = Turns::new(&codec, &contexts).unwrap();
        for restores in RESTORES_PER_TURN {
            let plan = |bases: u32| {
                let mut costs = ByteCosts::new(restores);
                let (mut chain, mut frames) = (0, 0);
                for turn in 0..8 {
                    let is_base = turn == 0 || bases & 1 << turn != 0;
                    let written =
                        if is_base { turns.full_bytes[turn] } else { turns.deltas[turn - 1].as_bytes().len() };
                    (chain, frames) = if is_base { (written, 1) } else { (chain + written, frames + 1) };
                    costs.turn(written, chain, frames);
                }
                costs.bytes
            };
            let best = (0..1 << 8).map(plan).fold(f64::INFINITY, f64::min);
            assert!((turns.optimum(restores) - best).abs() < 1e-6, "{restores}");
        }
    }

    #[test]
    fn the_rule_is_near_the_optimum() {
        let (codec, contexts) = (Codec::default(), contexts(120));
        let turns = Turns::new(&codec, &contexts).unwrap();
        for restores in RESTORES_PER_TURN {
            let Cost { rule, optimum } = turns.cost(restores).unwrap();
            assert!((1.0 - 1e-9..=1.10).contains(&(rule / optimum)), "{restores}: {}", rule / optimum);
        }
    }
}
