//! The reports to systemd, or to another service manager: `sd_notify(3)`.

use std::{
    convert::Infallible,
    env,
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use forerunner_runtime::Handle;
use tokio::time::{interval, sleep, timeout};

/// How often to check whether the node accepts traffic, until it does.
const READY_POLL: Duration = Duration::from_millis(250);

/// The service manager, if there is one.
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often to send a watchdog signal, if one is expected: twice as often.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let var = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let socket = var("NOTIFY_SOCKET").and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%path, %error, "cannot report the node's state to the service manager");
                None
            }
        });
        let watchdog = watchdog(var("WATCHDOG_USEC").as_deref(), var("WATCHDOG_PID").as_deref(), std::process::id());
        Self { watchdog: watchdog.filter(|_| socket.is_some()), socket }
    }

    /// Reports that the node is ready once it accepts traffic. Then sends watchdog signals for as long as its actors
    /// answer.
    pub async fn report(&self, node: &Handle) -> Infallible {
        while self.socket.is_some() && !node.readiness().await.ready {
            sleep(READY_POLL).await;
        }
        self.send("READY=1");
        let answers = async |period| matches!(timeout(period, node.pools()).await, Ok(Ok(_)));
        self.live_while(answers).await
    }

    /// Reports that the node stops, and that this may take `limit`, whatever the unit allows.
    pub async fn report_stop(&self, limit: Duration) -> Infallible {
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", limit.as_micros()));
        self.live_while(async |_| true).await
    }

    /// Sends a watchdog signal twice per period, if the manager expects one, while `lives` is true.
    async fn live_while(&self, lives: impl AsyncFn(Duration) -> bool) -> Infallible {
        let Some(period) = self.watchdog else { return pending().await };
        let mut interval = interval(period);
        loop {
            interval.tick().await;
            if lives(period).await {
                self.send("WATCHDOG=1");
            } else {
                tracing::warn!(?period, "the node's actors do not answer; the service manager gets no watchdog signal");
            }
        }
    }

    /// A manager that does not read is not waited for.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(state, %error, "cannot notify the service manager");
        }
    }
}

fn connect(path: &str) -> io::Result<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Half of the period within which a sign of life is expected of this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_other = pid.is_some_and(|pid| pid.parse() != Ok(own));
    let period = usec?.parse().ok().filter(|usec| *usec > 0 && !is_other)?;
    Some(Duration::from_micros(period) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let length = listener.recv(&mut bytes).expect("something was sent");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn signal(address: &str, listener: &UnixDatagram) {
        let socket = connect(address).expect("somebody listens");
        let manager = ServiceManager { socket: Some(socket), watchdog: None };
        manager.send("READY=1");
        assert_eq!(received(listener), "READY=1");
    }

    #[test]
    fn a_manager_is_told_over_a_socket_in_the_file_system_and_over_an_abstract_one() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        signal(&path.display().to_string(), &UnixDatagram::bind(&path).expect("a fresh directory"));
        let name = format!("forerunner-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        signal(&format!("@{name}"), &UnixDatagram::bind_addr(&address).expect("a name of this test"));
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let _unread = UnixDatagram::bind(&path).expect("a fresh directory");
        let socket = connect(&path.display().to_string()).expect("somebody listens");
        let manager = ServiceManager { socket: Some(socket), watchdog: None };
        (0..10_000).for_each(|_| manager.send("WATCHDOG=1"));
    }

    #[test]
    fn a_sign_of_life_is_sent_twice_a_period_and_by_the_process_that_is_meant() {
        let second = Some(Duration::from_millis(500));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        for (usec, pid) in [(Some("1000000"), Some("8")), (Some("0"), None), (Some("x"), None), (None, None)] {
            assert_eq!(watchdog(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }
}
