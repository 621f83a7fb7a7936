//! Random histories of edits with random crashes: what is restored is what was last committed, byte for byte.
//!
//! `FORERUNNER_HISTORIES=10000 cargo test --release -p forerunner-context histories` runs the full count.

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

use crate::{
    BaseItems, BaseProbe, Chain, Codec, Frame, Item, Limits, Snapshot, Turn,
    laws::{Edit, contents, edit, snapshot},
    train::tests::{dictionary, sessions},
};

/// Cases if the environment sets no number.
const CASES: u32 = 64;

/// What happens to an agent.
#[derive(Debug, Clone)]
enum Step {
    /// A turn that is committed.
    Turn(Edit),
    /// A turn that is lost: the agent dies before, or while its frame is written.
    Crash(Edit, Option<Index>),
    /// The agent dies between turns.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => edit().prop_map(Step::Turn),
        2 => (edit(), any::<Option<Index>>()).prop_map(|(edit, cut)| Step::Crash(edit, cut)),
        1 => Just(Step::Restart),
    ]
}

/// Text of agents, which a dictionary and base items know in part.
fn speech() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec((0..10usize, 0..12usize, 0..3usize), 0..6).prop_map(|turns| {
        let text = |(session, turn, repeat): (usize, usize, usize)| sessions()[session][turn].repeat(repeat + 1);
        turns.into_iter().map(text).collect()
    })
}

/// The store's side: frames of the current chain. What is not written whole is not written.
struct StoreSide {
    codec: Codec,
    frames: Vec<Vec<u8>>,
    /// A commit that the agent got an answer to is durable.
    committed: Vec<Vec<u8>>,
}

/// The agent's side.
struct AgentSide {
    snapshot: Snapshot,
    chain: Chain,
    probe: BaseProbe,
}

fn bytes(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    snapshot.items().iter().map(|item| item.bytes().to_vec()).collect()
}

impl StoreSide {
    fn begin(codec: Codec, first: &Snapshot) -> (Self, AgentSide) {
        let base = codec.full(first).unwrap();
        let agent = AgentSide {
            snapshot: first.clone(),
            chain: Chain::start(&base, first.limits()).unwrap(),
            probe: BaseProbe::new(&base, first),
        };
        (Self { codec, frames: vec![base.into_bytes()], committed: bytes(first) }, agent)
    }

    /// Restores from the frames alone, and checks against what was committed.
    fn restore(&self) -> AgentSide {
        let frames = self.frames.iter().map(Vec::as_slice);
        let (chain, snapshot) = Chain::resume_with(&self.codec, frames, &limits()).unwrap();
        assert_eq!(bytes(&snapshot), self.committed);
        let probe = BaseProbe::new(&self.codec.full(&snapshot).unwrap(), &snapshot);
        AgentSide { snapshot, chain, probe }
    }

    fn encode(&self, agent: &mut AgentSide, next: &Snapshot) -> (Frame, bool) {
        let delta = self.codec.delta(&agent.snapshot, next).unwrap();
        let fresh_base_bytes = agent.probe.fresh_base_bytes(&self.codec, next).unwrap();
        let turn = Turn { delta: &delta, next, restores_per_turn: 0.5, fresh_base_bytes };
        if agent.chain.should_compact(&turn).is_some() {
            let base = self.codec.full(next).unwrap();
            agent.chain = Chain::start(&base, next.limits()).unwrap();
            return (base, true);
        }
        agent.chain.append(&turn).unwrap();
        (delta, false)
    }

    fn commit(&mut self, agent: &mut AgentSide, next: Snapshot) {
        let (frame, is_base) = self.encode(agent, &next);
        if is_base {
            self.frames.clear();
        }
        self.frames.push(frame.into_bytes());
        self.committed = bytes(&next);
        agent.snapshot = next;
    }

    /// A frame that was cut while it was written never passes for the turn.
    fn refuses_cut(&self, agent: &mut AgentSide, next: &Snapshot, cut: Index) {
        let (frame, is_base) = self.encode(agent, next);
        let cut = &frame.as_bytes()[..cut.index(frame.as_bytes().len())];
        let kept = if is_base { &[][..] } else { &self.frames };
        let frames = kept.iter().map(Vec::as_slice).chain([cut]);
        assert!(Chain::restore_with(&self.codec, frames, &limits()).is_err());
    }
}

fn limits() -> Limits {
    // Short enough that chains reach their end.
    Limits { chain_frames: 12, ..Limits::default() }
}

/// Codecs from none of the means to all of them.
fn codec(means: u8) -> Codec {
    let bases = sessions().into_iter().flatten().step_by(3).map(Item::new);
    let mut codec = Codec::default();
    if means & 1 != 0 {
        codec = codec.with_dictionary(dictionary()).unwrap();
    }
    if means & 2 != 0 {
        codec = codec.with_bases(BaseItems::new(bases));
    }
    if means & 4 != 0 {
        codec = codec.with_prefix();
    }
    codec
}

fn live(means: u8, first: Vec<Vec<u8>>, steps: Vec<Step>) {
    let within = |next: Snapshot| Snapshot::from_items(next.items().iter().cloned(), limits()).unwrap();
    let (mut stored, mut agent) = StoreSide::begin(codec(means), &within(snapshot(first)));
    for step in steps {
        match step {
            Step::Turn(edit) => {
                let next = within(edit.of(&agent.snapshot));
                stored.commit(&mut agent, next);
            }
            Step::Crash(edit, cut) => {
                let next = within(edit.of(&agent.snapshot));
                if let Some(cut) = cut {
                    stored.refuses_cut(&mut agent, &next, cut);
                }
                agent = stored.restore();
            }
            Step::Restart => agent = stored.restore(),
        }
    }
    stored.restore();
}

#[test]
fn what_is_restored_is_what_was_last_committed() {
    let count = std::env::var("FORERUNNER_HISTORIES").ok().and_then(|count| count.parse().ok());
    let cases = count.unwrap_or(CASES);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let first = prop_oneof![contents(), speech()];
    let speaking = speech().prop_map(|speech| Step::Turn(Edit::Append(speech)));
    let steps = vec(prop_oneof![2 => step(), 1 => speaking], 1..40);
    let result = runner.run(&(0u8..8, first, steps), |(means, first, steps)| {
        live(means, first, steps);
        Ok(())
    });
    result.unwrap();
}
