//! Members of one call: stored together, and yet answered, left open or rejected one by one.

use forerunner_store::StoreError;
use tokio::sync::oneshot;

use crate::{failure::Sql, tx::Tx};

/// The sending end of a call's answer.
pub(crate) type ReplySender<T> = oneshot::Sender<Result<T, StoreError>>;
/// The receiving end of a call's answer.
pub(crate) type ReplyReceiver<T> = oneshot::Receiver<Result<T, StoreError>>;

/// What a batch consists of.
pub(crate) trait Member: Sized {
    type Answer;

    /// Stores members, which may be of several batches. A short transaction stores none that needs a lookup first.
    async fn store(tx: &Tx<'_>, members: &[&Self]) -> Sql<Vec<Option<Self::Answer>>>;

    /// What is answered of a member whose values the database refuses. None if something else is to be stored in its place,
    /// which it has become.
    fn refuse(&mut self, reason: &str, is_over_limit: bool) -> Option<Self::Answer>;
}

/// The members of one call, with their answers as far as they are known. It can be run any number of times: only what is open
/// is stored.
pub(crate) struct Batch<M: Member> {
    members: Vec<M>,
    answers: Vec<Option<M::Answer>>,
    /// What the newest transaction answered. It counts once that is committed.
    found: Vec<Option<M::Answer>>,
    /// The only member that is run, while each is tried alone.
    alone: Option<usize>,
    reply: ReplySender<Vec<M::Answer>>,
}

impl<M: Member> Batch<M> {
    /// A batch, and where its answers come.
    pub fn new(members: Vec<M>) -> (Self, ReplyReceiver<Vec<M::Answer>>) {
        let (reply, answer) = oneshot::channel();
        let answers = members.iter().map(|_| None).collect();
        (Self { members, answers, found: Vec::new(), alone: None, reply }, answer)
    }

    /// The members that the next transaction stores.
    pub fn next(&self) -> impl Iterator<Item = &M> {
        let members = self.members.iter().zip(&self.answers).enumerate();
        let next =
            members.filter(|(place, (_, answer))| answer.is_none() && self.alone.is_none_or(|one| one == *place));
        next.map(|(_, (member, _))| member)
    }

    /// Removes its answers from those of all batches that were stored together.
    fn note(&mut self, answers: &mut impl Iterator<Item = Option<M::Answer>>) {
        let count = self.next().count();
        self.found = answers.take(count).collect();
    }

    /// Answers the call.
    pub fn reply(self, outcome: Result<(), StoreError>) {
        // Nobody may be waiting: a dropped future does not undo its operation.
        drop(self.reply.send(outcome.map(|()| self.answers.into_iter().flatten().collect())));
    }
}

/// A batch of whatever members.
pub(crate) trait Parts {
    /// How many members it has.
    fn len(&self) -> usize;

    /// The places of members without an answer.
    fn open(&self) -> Vec<usize>;

    /// From now on only this member is run.
    fn pick(&mut self, member: usize);

    /// Handles a member whose values the database rejects. Returns whether that is all: if not, the member has become
    /// its own replacement.
    fn refuse(&mut self, member: usize, reason: &str, is_over_limit: bool) -> bool;

    /// Records the answers of the newest transaction, which is committed.
    fn keep(&mut self);
}

impl<M: Member> Parts for Batch<M> {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn keep(&mut self) {
        let alone = self.alone;
        let answers = self.answers.iter_mut().enumerate();
        let next = answers.filter(|(place, answer)| answer.is_none() && alone.is_none_or(|one| one == *place));
        next.zip(self.found.drain(..)).for_each(|((_, answer), found)| *answer = found);
    }

    fn open(&self) -> Vec<usize> {
        let answers = self.answers.iter().enumerate();
        answers.filter(|(_, answer)| answer.is_none()).map(|(place, _)| place).collect()
    }

    fn pick(&mut self, member: usize) {
        self.alone = Some(member);
    }

    fn refuse(&mut self, member: usize, reason: &str, is_over_limit: bool) -> bool {
        self.answers[member] = self.members[member].refuse(reason, is_over_limit);
        self.answers[member].is_some()
    }
}

/// Stores what is open of batches as one.
pub(crate) async fn store<M: Member>(tx: &Tx<'_>, batches: Vec<&mut Batch<M>>) -> Sql<()> {
    let members: Vec<&M> = batches.iter().flat_map(|batch| batch.next()).collect();
    let mut answers = M::store(tx, &members).await?.into_iter();
    batches.into_iter().for_each(|batch| batch.note(&mut answers));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refused if it is negative: it is stored without its sign, unless it is -1.
    #[derive(Debug, PartialEq)]
    struct Number(i32);

    impl Member for Number {
        type Answer = i32;

        async fn store(_: &Tx<'_>, members: &[&Self]) -> Sql<Vec<Option<i32>>> {
            Ok(members.iter().map(|one| Some(one.0)).collect())
        }

        fn refuse(&mut self, _: &str, _: bool) -> Option<i32> {
            if self.0 == -1 {
                return Some(0);
            }
            self.0 = self.0.abs();
            None
        }
    }

    fn run(batch: &mut Batch<Number>, answers: &[Option<i32>]) -> Vec<i32> {
        let members = batch.next().map(|one| one.0).collect();
        batch.note(&mut answers.iter().copied());
        members
    }

    fn answers(batch: Batch<Number>, mut answer: ReplyReceiver<Vec<i32>>) -> Vec<i32> {
        batch.reply(Ok(()));
        answer.try_recv().unwrap().unwrap()
    }

    #[test]
    fn an_answer_counts_once_its_transaction_is_committed() {
        let (mut batch, answer) = Batch::new([1, 2, 3].map(Number).into());
        assert_eq!(run(&mut batch, &[Some(7), Some(7), Some(7)]), [1, 2, 3]);
        assert_eq!(batch.open(), [0, 1, 2], "it was rolled back");
        run(&mut batch, &[Some(1), None, Some(3)]);
        batch.keep();
        assert_eq!(batch.open(), [1]);
        assert_eq!(run(&mut batch, &[Some(2)]), [2], "only what is open is run");
        batch.keep();
        assert_eq!(answers(batch, answer), [1, 2, 3]);
    }

    #[test]
    fn batches_that_are_stored_together_get_each_their_own_answers() {
        let [mut one, mut two] = [[1, 2], [3, 4]].map(|numbers| Batch::new(numbers.map(Number).into()));
        let mut all = [1, 2, 3, 4].into_iter().map(Some);
        for (batch, _) in [&mut one, &mut two] {
            batch.note(&mut all);
            batch.keep();
        }
        assert_eq!([one, two].map(|(batch, answer)| answers(batch, answer)), [[1, 2], [3, 4]]);
    }

    #[test]
    fn a_member_that_is_refused_is_answered_or_becomes_what_is_stored_instead() {
        let (mut batch, answer) = Batch::new([5, -1, -9].map(Number).into());
        for member in batch.open() {
            batch.pick(member);
            assert_eq!(batch.next().count(), 1, "it is run alone");
            let is_done = member > 0 && batch.refuse(member, "negative", false);
            assert_eq!(is_done, member == 1);
            if !is_done {
                let number = batch.next().next().map(|one| one.0);
                run(&mut batch, &[number]);
                batch.keep();
            }
        }
        assert_eq!(answers(batch, answer), [5, 0, 9]);
    }
}
