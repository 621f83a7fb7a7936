//! Where agents that dialled in meet the pools that want them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Connection, Session, session::Patience};

/// Most agents of a pool that wait until the pool wants them.
pub const MOST_WAITING: usize = 1_000;

/// The patience with an agent that no pool has started yet. It is away only once.
const WAITING: Patience =
    Patience { resume_timeout: Duration::ZERO, write_timeout: Duration::from_secs(30), max_line_bytes: 64 << 10 };

/// The agents that dialled in to this process. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    lobbies: HashMap<String, Lobby>,
    sessions: HashMap<String, Weak<Session>>,
    count: u64,
    /// Makes ids that no other process makes, and that nobody guesses.
    random: RandomState,
}

impl Inside {
    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{:016x}{:016x}", self.random.hash_one(self.count), self.random.hash_one(!self.count))
    }
}

#[derive(Debug, Default)]
struct Lobby {
    waiting: VecDeque<Arc<Session>>,
    arrived: Arc<Notify>,
}

/// A pool has as many waiting agents as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl Hub {
    /// Returns the hub of this process: that of all pools that the program starts.
    pub fn of_process() -> Self {
        static HUB: LazyLock<Hub> = LazyLock::new(Hub::default);
        HUB.clone()
    }

    /// Accepts a connection of an agent for a pool. `resumed` names its session and the number of messages that it has read
    /// of it. An unknown session is begun anew, as `hello` shows. `name` is for people, such as its address.
    ///
    /// # Errors
    /// When too many agents wait for the pool.
    pub fn accept(&self, pool: &str, name: &str, resumed: Option<(&str, u64)>) -> Result<Connection, NoRoom> {
        let mut inside = self.inside.lock();
        inside.sessions.retain(|_, session| session.upgrade().is_some_and(|session| !session.has_ended()));
        if let Some((id, received)) = resumed
            && let Some(session) = inside.sessions.get(&key(pool, id)).and_then(Weak::upgrade)
        {
            return Ok(Connection::new(session, received));
        }
        let lobby = inside.lobbies.entry(pool.to_owned()).or_default();
        lobby.waiting.retain(|session| session.is_usable());
        if lobby.waiting.len() >= MOST_WAITING {
            return Err(NoRoom);
        }
        let id = inside.next_id();
        let name = format!("remote agent {name}");
        let session = Arc::new(Session::new(id.clone(), name, WAITING));
        inside.sessions.insert(key(pool, &id), Arc::downgrade(&session));
        let connection = Connection::new(Arc::clone(&session), 0);
        let lobby = inside.lobbies.entry(pool.to_owned()).or_default();
        lobby.waiting.push_back(session);
        lobby.arrived.notify_one();
        Ok(connection)
    }

    /// Waits for an agent of a pool, and takes it.
    pub(super) async fn next(&self, pool: &str, patience: Patience) -> Arc<Session> {
        let arrived = Arc::clone(&self.inside.lock().lobbies.entry(pool.to_owned()).or_default().arrived);
        loop {
            if let Some(session) = self.take(pool) {
                session.begin(patience);
                return session;
            }
            arrived.notified().await;
        }
    }

    fn take(&self, pool: &str) -> Option<Arc<Session>> {
        let mut inside = self.inside.lock();
        let lobby = inside.lobbies.get_mut(pool)?;
        lobby.waiting.retain(|session| session.is_usable());
        let session = lobby.waiting.pop_front();
        if !lobby.waiting.is_empty() {
            // Another start may wait: several agents that arrive at once wake one.
            lobby.arrived.notify_one();
        }
        session
    }

    /// Returns how many agents of a pool wait until it wants them.
    pub fn waiting(&self, pool: &str) -> usize {
        let inside = self.inside.lock();
        let waiting = inside.lobbies.get(pool).map(|lobby| lobby.waiting.iter().filter(|session| session.is_usable()));
        waiting.map_or(0, Iterator::count)
    }
}

/// A key of another pool does not reach a session by its id.
fn key(pool: &str, id: &str) -> String {
    format!("{pool}/{id}")
}
