//! Notifies other nodes, and subscribes to their notifications: LISTEN and NOTIFY over a connection of its own.
//!
//! A transaction that notifies has a lock of the whole database until it is committed, so nothing that must reach the
//! disk ever notifies. Notifications are collected here and sent in a transaction that writes nothing and waits for no
//! disk. The first notification after a silence is sent at once; after it the pause grows with the square of the number
//! of nodes, so that all of them together are woken about as often whatever their number. One node notifies of work in
//! a pool for all: a node that receives this drops its own notification of the pool, since every node polls at that
//! moment.

use std::{
    future::poll_fn,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use forerunner_store::Notification;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, broadcast},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification as Received, Socket};

use crate::{address::Address, direct::is_direct, failure::reason, liveness::Liveness};

/// The channel that nodes of one database share.
const CHANNEL: &str = "forerunner";
/// The pause between two notifications for one other node; it grows with the square of their number.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The pause after a notification of work, sent or received, for one other node; it grows with their number, up to the
/// longest.
const WORK_PAUSE: Duration = Duration::from_millis(10);
/// How often a node checks whether it receives its own notifications, and how long it waits for that.
const PROBE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// How often it tries to be seen by the others.
const ACQUIRE_EVERY: Duration = Duration::from_millis(300);
/// The first and the longest pause between two attempts to listen.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// News that a slow reader may lag behind.
const LAG: usize = 256;
/// Why a session without an answer is given up.
const SLOW: &str = "the database did not answer in time";
/// What a node sends to itself to check its subscription; a number follows.
const ECHO: &str = "echo ";

/// Notifications between nodes, in both directions.
#[derive(Debug)]
pub(crate) struct Notifier {
    subscribers: broadcast::Sender<Notification>,
    pending: Mutex<Pending>,
    /// There is something to send.
    ring: Notify,
    /// A caller subscribes.
    begin: Notify,
    is_listening: AtomicBool,
    /// Other nodes, as the newest beat of this one counted them.
    peers: AtomicUsize,
    /// The process of the database that speaks for this node.
    own: AtomicI32,
    /// The newest number that the node received from itself.
    echo: AtomicU64,
    echoed: Notify,
    /// By this session other nodes see that the node lives.
    liveness: Arc<Liveness>,
}

/// What is to be sent, and when something was sent last.
#[derive(Debug, Default)]
struct Pending {
    hints: Notification,
    sent_at: Option<Instant>,
    /// When somebody spoke of work.
    work_at: Option<Instant>,
}

impl Pending {
    /// When the pending notification may be sent; `chance` in [0, 1) lets one of many nodes go first.
    fn due(&self, peers: usize, chance: f64) -> Option<Instant> {
        let Self { hints, sent_at, work_at } = self;
        if hints.is_empty() {
            return None;
        }
        let is_work = Notification { work: hints.work.clone(), ..Notification::default() } == *hints;
        let (after, pause) = match is_work {
            true => (work_at.max(sent_at), pause_of_work(peers).mul_f64(1.0 + chance)),
            false => (sent_at, pause_for(peers)),
        };
        Some(after.map_or_else(Instant::now, |at| at + pause))
    }

    fn take(&mut self) -> Notification {
        let now = Some(Instant::now());
        self.sent_at = now;
        if !self.hints.work.is_empty() {
            self.work_at = now;
        }
        std::mem::take(&mut self.hints)
    }

    /// Others were notified of this work a moment ago, and so of ours.
    fn forget_work(&mut self, received: &Notification) {
        if !received.work.is_empty() {
            self.work_at = Some(Instant::now());
            self.hints.work.retain(|pool| !received.work.contains(pool));
        }
    }
}

impl Notifier {
    pub fn new(liveness: Arc<Liveness>) -> Self {
        Self {
            subscribers: broadcast::channel(LAG).0,
            pending: Mutex::default(),
            ring: Notify::new(),
            begin: Notify::new(),
            is_listening: AtomicBool::new(false),
            peers: AtomicUsize::new(0),
            own: AtomicI32::new(0),
            echo: AtomicU64::new(0),
            echoed: Notify::new(),
            liveness,
        }
    }

    /// Notifies others soon, if there are any.
    pub fn notify(&self, hints: Notification) {
        if hints.is_empty() || self.peers.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.pending().hints.absorb(hints);
        self.ring.notify_one();
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    /// Begins to listen, if that was not asked for before.
    pub fn subscribe(&self) -> broadcast::Receiver<Notification> {
        self.begin.notify_one();
        self.subscribers.subscribe()
    }

    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    pub fn note_peers(&self, peers: usize) {
        self.peers.store(peers, Ordering::Relaxed);
    }

    /// Listens, and sends pending notifications, repeatedly; `limit` bounds each call.
    pub async fn serve(self: Arc<Self>, address: Address, limit: Duration) {
        self.begin.notified().await;
        let Some(config) = &address.listen else {
            tracing::info!("notifications are disabled by ?listen=off; polling the store");
            return;
        };
        let mut pause = BACKOFF.0;
        loop {
            let begun = Instant::now();
            let why = Arc::clone(&self).session(config, &address, limit).await;
            let was_hearing = self.is_listening.swap(false, Ordering::Relaxed);
            if was_hearing || pause == BACKOFF.0 {
                tracing::warn!(reason = why, "cannot receive notifications of other nodes; polling the store");
            }
            if begun.elapsed() > BACKOFF.1 {
                pause = BACKOFF.0;
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Listens until something fails; answers what.
    async fn session(self: Arc<Self>, config: &Config, address: &Address, limit: Duration) -> String {
        let connected = async {
            Ok::<_, tokio_postgres::Error>(match &address.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    (client, tokio::spawn(Arc::clone(&self).drive(connection)))
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tokio::spawn(Arc::clone(&self).drive(connection)))
                }
            })
        };
        let (client, driver) = match timeout(limit, connected).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return reason(&error),
            Err(_) => return SLOW.to_owned(),
        };
        let driver = AbortOnDrop(driver);
        let call = async {
            match timeout(limit, self.listen(&client)).await {
                Ok(Ok(is_direct)) => self.run_session(&client, limit, is_direct).await,
                Ok(Err(error)) => reason(&error),
                Err(_) => SLOW.to_owned(),
            }
        };
        tokio::select! {
            why = call => why,
            why = driver => why,
        }
    }

    /// Drives a connection until it ends; returns the reason.
    async fn drive<S>(self: Arc<Self>, mut connection: Connection<Socket, S>) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(note))) => self.on_note(&note),
                Some(Ok(_)) => {}
                Some(Err(error)) => return reason(&error),
                None => return "the connection was closed".to_owned(),
            }
        }
    }

    /// Begins to listen; answers whether the session is this node's own.
    async fn listen(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let rows = client.query_typed("SELECT pg_backend_pid()", &[]).await?;
        let own = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        self.own.store(own, Ordering::Relaxed);
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        is_direct(client).await
    }

    /// Sends pending notifications, and checks now and then whether the node receives its own; returns why it no longer
    /// can.
    async fn run_session(&self, client: &Client, limit: Duration, is_direct: bool) -> String {
        let mut probe = interval(PROBE.0);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut acquire, mut is_acquired) = (interval(ACQUIRE_EVERY), false);
        acquire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut chance = 0.5;
        loop {
            let peers = self.peers.load(Ordering::Relaxed);
            let due = self.pending().due(peers, chance);
            let sent = tokio::select! {
                _ = probe.tick() => self.probe(client, limit).await,
                // Not behind a pooler, where the lock would stay with a session of anybody.
                _ = acquire.tick(), if is_direct && !is_acquired && self.is_listening() => {
                    let acquired = timeout(limit, self.liveness.acquire(client)).await;
                    is_acquired = matches!(acquired, Ok(Ok(true)));
                    acquired.map_or_else(|_| Err(SLOW.to_owned()), |acquired| acquired.map(drop).map_err(|error| reason(&error)))
                }
                // The pending notifications, or their time, may have changed.
                () = self.ring.notified() => Ok(()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    chance = random();
                    let text = serde_json::to_string(&self.pending().take()).unwrap_or_default();
                    notify(client, &text, limit).await
                }
            };
            if let Err(why) = sent {
                return why;
            }
        }
    }

    /// Sends itself a number and waits until it returns.
    async fn probe(&self, client: &Client, limit: Duration) -> Result<(), String> {
        let number = self.echo.load(Ordering::Relaxed) + 1;
        notify(client, &format!("{ECHO}{number}"), limit).await?;
        let returned = async {
            loop {
                let echoed = self.echoed.notified();
                if self.echo.load(Ordering::Relaxed) >= number {
                    return;
                }
                echoed.await;
            }
        };
        if timeout(PROBE.1, returned).await.is_err() {
            return Err(
                "a notification that the node sent to itself did not arrive, as behind a pooler in transaction \
                 mode; set `?listen=HOST:PORT` to the address of the database itself"
                    .to_owned(),
            );
        }
        if !self.is_listening.swap(true, Ordering::Relaxed) {
            tracing::info!("receiving notifications of other nodes");
            // All notifications until now were missed.
            self.pass_on(Notification::anything());
        }
        Ok(())
    }

    /// Receives notifications of others; of its own only the echo.
    fn on_note(&self, note: &Received) {
        let is_own = note.process_id() == self.own.load(Ordering::Relaxed);
        match note.payload().strip_prefix(ECHO) {
            Some(number) if is_own => {
                if let Ok(number) = number.parse() {
                    self.echo.fetch_max(number, Ordering::Relaxed);
                    self.echoed.notify_waiters();
                }
            }
            None if !is_own => {
                if let Ok(hints) = serde_json::from_str(note.payload()) {
                    self.pending().forget_work(&hints);
                    self.ring.notify_one();
                    self.pass_on(hints);
                }
            }
            _ => {}
        }
    }

    fn pass_on(&self, hints: Notification) {
        // Nobody may be listening any more.
        let _ = self.subscribers.send(hints);
    }
}

/// Notifies all subscribers. Commits without waiting for the disk: nothing needs to be durable.
async fn notify(client: &Client, text: &str, limit: Duration) -> Result<(), String> {
    let quoted = text.replace('\'', "''");
    let sql = format!("BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify('{CHANNEL}', '{quoted}'); COMMIT");
    match timeout(limit, client.batch_execute(&sql)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err("the database did not accept a notification in time".to_owned()),
    }
}

/// How long a node is silent after a notification, with so many others.
fn pause_for(peers: usize) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX).max(1);
    PAUSE.saturating_mul(peers.saturating_mul(peers)).min(LONGEST_PAUSE)
}

fn pause_of_work(peers: usize) -> Duration {
    WORK_PAUSE.saturating_mul(u32::try_from(peers).unwrap_or(u32::MAX).max(1)).min(LONGEST_PAUSE)
}

/// Any number in [0, 1).
fn random() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Ends a task together with the future that waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<String>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for AbortOnDrop {
    type Output = String;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<String> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|end| end.unwrap_or_else(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_nodes_the_longer_the_pause_and_together_they_are_woken_as_often() {
        assert_eq!([0, 1, 2, 5, 24].map(|peers| pause_for(peers).as_millis()), [10, 10, 40, 250, 500]);
    }

    fn work(pool: &str) -> Notification {
        Notification::work(forerunner_core::PoolName::new(pool).unwrap())
    }

    #[test]
    fn work_that_another_node_spoke_of_is_not_spoken_of_again() {
        let mut pending = Pending::default();
        pending.hints.absorb(work("a"));
        pending.hints.absorb(work("b"));
        pending.forget_work(&work("a"));
        assert_eq!(pending.hints, work("b"));
        let announced_at = pending.work_at.unwrap();
        assert_eq!(
            pending.due(3, 0.5),
            Some(announced_at + pause_of_work(3).mul_f64(1.5)),
            "later than whoever was lucky"
        );
        pending.hints.settings = true;
        assert!(pending.due(3, 0.5).unwrap() < announced_at + pause_of_work(3), "other news do not wait for that");
        assert_eq!(pending.take(), Notification { settings: true, ..work("b") });
        assert_eq!(pending.due(3, 0.5), None);
    }

    #[test]
    fn chance_is_a_share() {
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random())));
        assert_ne!(random(), random());
    }
}
