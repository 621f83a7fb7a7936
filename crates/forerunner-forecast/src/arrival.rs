//! The arrival of a task, as an observation lists it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The arrival of a task. In JSON `[number, seconds]`, or `[number, seconds, session]` with a text or a number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Arrival {
    /// Number of the task, the same at its completion.
    pub task: u64,
    /// When it came, on the clock of [`Observation::t`](crate::Observation::t).
    pub at: f64,
    /// The session that it belongs to: tasks of one session run one after another. `None` for a task on its own.
    pub session: Option<u64>,
}

impl Arrival {
    /// Returns the number for a session of this name.
    pub fn session_named(name: &str) -> u64 {
        // FNV-1a (Fowler, Noll, Vo): the same in every run, and equal names are all that counts.
        name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl From<(u64, f64)> for Arrival {
    fn from((task, at): (u64, f64)) -> Self {
        Self { task, at, session: None }
    }
}

impl Serialize for Arrival {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.session {
            None => (self.task, self.at).serialize(serializer),
            // As a text: not every reader has whole numbers of 64 bits.
            Some(session) => (self.task, self.at, session.to_string()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Arrival {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an arrival is not [number, seconds] or [number, seconds, session]")]
        enum Listed {
            Task(u64, f64),
            OfSession(u64, f64, Option<Name>),
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a session is not a text, a number or null")]
        enum Name {
            Text(String),
            Number(serde_json::Number),
        }
        let number = |name: Name| match name {
            Name::Text(text) => Self::session_named(&text),
            Name::Number(number) => Self::session_named(&number.to_string()),
        };
        Ok(match Listed::deserialize(deserializer)? {
            Listed::Task(task, at) => Self { task, at, session: None },
            Listed::OfSession(task, at, name) => Self { task, at, session: name.map(number) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_text_a_number_or_null() {
        let read = |text: &str| serde_json::from_str::<Arrival>(text);
        let same = |text: &str| read(text).expect(text).session;
        assert_eq!(same("[1,2.5]"), None);
        assert_eq!(same("[1,2.5,null]"), None);
        assert_eq!(same("[1,2.5,\"7\"]"), same("[2,3,7]"));
        assert_ne!(same("[1,2.5,\"a\"]"), same("[1,2.5,\"b\"]"));
        for wrong in ["[1]", "[1,2,[3]]", "[1,2,\"a\",4]", "[-1,2]", "7"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("an arrival is not [number, seconds]"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_sessions() {
        let written = [Some(u64::MAX), None, Some(u64::MAX), Some(3)].map(|session| {
            let arrival = Arrival { task: 1, at: 0.5, session };
            serde_json::from_str::<Arrival>(&serde_json::to_string(&arrival).expect("plain"))
                .expect("own output")
                .session
        });
        assert_eq!((written[0], written[1]), (written[2], None));
        assert_ne!(written[0], written[3]);
    }
}
