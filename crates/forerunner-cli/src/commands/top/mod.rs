//! `forerunner top`: the dashboard in a terminal.

mod charts;
mod facts;
pub mod frame;
mod poller;
mod schedules;
pub mod screen;
mod sections;
#[cfg(test)]
mod tests;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use forerunner_console::{json, output::Output, stdio};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use self::{
    frame::{Size, frame},
    poller::Poller,
    screen::{Key, Screen},
};
use crate::{server_args::ServerArgs, signals::Signals};

/// What to watch.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The pool to show in depth; default: the first one.
    pool: Option<String>,
    /// Print the present state, and end. This also happens when standard output is not a terminal.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Time between two polls.
const PERIOD: Duration = Duration::from_secs(1);
/// How large a frame is that no terminal shows.
const OFF_TERMINAL: Size = Size { width: 100, height: 40 };

/// Watches a service until a key or a signal ends it.
pub async fn run(args: TopArgs, out: &Output) -> anyhow::Result<()> {
    let mut poller = Poller::new(args.server.client()?, args.pool);
    if out.is_json() {
        return lines(&poller, args.once).await;
    }
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if args.once || !is_terminal {
        let seen = poller.poll().await?;
        let size = screen::size().filter(|_| is_terminal).unwrap_or(OFF_TERMINAL);
        let mut lines = frame(&seen, size, None);
        // The last line lists keys, and no keys are read here.
        lines.pop();
        let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
        return out.line(texts.join("\n").trim_end());
    }
    // A failure at the start is an error, and leaves the terminal unchanged.
    let seen = poller.poll().await?;
    watch(&mut poller, seen).await
}

/// Writes an object per second, until the reader closes the stream.
async fn lines(poller: &Poller, once: bool) -> anyhow::Result<()> {
    loop {
        let begun = Instant::now();
        let seen = poller.poll().await?;
        if !stdio::answer(&json::compact(&seen.to_string()))? || once {
            return Ok(());
        }
        sleep_until(begun + PERIOD).await;
    }
}

/// Draws a frame after each poll and each key. The screen is restored, however this ends.
async fn watch(poller: &mut Poller, mut seen: Value) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::open()?;
    let mut trouble = None;
    let mut next = Instant::now() + PERIOD;
    loop {
        screen.draw(&frame(&seen, screen.size(), trouble.as_deref()))?;
        let poll = async {
            sleep_until(next).await;
            poller.poll().await
        };
        tokio::select! {
            _ = signals.next() => return Ok(()),
            key = screen.key() => match key {
                Key::Quit => return Ok(()),
                Key::Redraw => {}
                Key::Next | Key::Previous => {
                    poller.choose(&seen, key == Key::Next);
                    next = Instant::now();
                }
            },
            polled = poll => {
                next = Instant::now() + PERIOD;
                match polled {
                    Ok(now) => (seen, trouble) = (now, None),
                    Err(error) => trouble = Some(format!("{error:#}")),
                }
            }
        }
    }
}
