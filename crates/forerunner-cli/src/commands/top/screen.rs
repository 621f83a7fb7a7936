//! The terminal while it is ours: another screen, keys one by one, and everything as it was in the end.

use std::io::{Read, Write, stdout};

use anyhow::Context;
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor},
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
        EnterAlternateScreen, LeaveAlternateScreen,
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::frame::{Line, Size, Tone};

/// What was pressed, or happened to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Quit.
    Quit,
    /// Show the next pool.
    Next,
    /// Show the pool before.
    Previous,
    /// The terminal has another size now.
    Redraw,
}

/// The terminal in raw mode, with its own screen. Dropping it restores everything.
pub struct Screen {
    keys: mpsc::Receiver<Key>,
    resized: Signal,
    coloured: bool,
}

impl Screen {
    /// Prepares the terminal.
    pub fn open() -> anyhow::Result<Self> {
        let resized = signal(SignalKind::window_change()).context("cannot receive changes of the terminal's size")?;
        terminal::enable_raw_mode().context("the terminal cannot be put into raw mode")?;
        // From here on, dropping it restores the changes.
        let coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Self { keys: read_keys(), resized, coloured };
        execute!(stdout(), EnterAlternateScreen, Hide, DisableLineWrap).context("the terminal cannot be drawn on")?;
        Ok(screen)
    }

    /// Returns how large it is.
    pub fn size(&self) -> Size {
        size().unwrap_or(Size { width: 80, height: 24 })
    }

    /// Draws a frame over the last one, in one write so that nothing flickers.
    pub fn draw(&self, lines: &[Line]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(lines) {
            // Cleared before the write: after the last column only that column would be cleared.
            queue!(bytes, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
            self.paint(&mut bytes, line)?;
        }
        for row in lines.len()..self.size().height {
            queue!(bytes, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)), Clear(ClearType::UntilNewLine))?;
        }
        queue!(bytes, EndSynchronizedUpdate)?;
        let mut out = stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush()).context("the terminal cannot be drawn on")
    }

    fn paint(&self, bytes: &mut Vec<u8>, line: &Line) -> std::io::Result<()> {
        match line.tone {
            Tone::Plain => return queue!(bytes, Print(&line.text)),
            Tone::Strong => queue!(bytes, SetAttribute(Attribute::Bold))?,
            Tone::Faint => queue!(bytes, SetAttribute(Attribute::Dim))?,
            Tone::Bad if self.coloured => queue!(bytes, SetForegroundColor(Color::Red))?,
            Tone::Bad => queue!(bytes, SetAttribute(Attribute::Bold))?,
        }
        queue!(bytes, Print(&line.text), SetAttribute(Attribute::Reset), ResetColor)
    }

    /// Returns a key that was pressed, without waiting for one.
    pub fn pressed(&mut self) -> Option<Key> {
        self.keys.try_recv().ok()
    }

    /// Waits for a key.
    pub async fn key(&mut self) -> Key {
        tokio::select! {
            // Without a reader there is no key to stop.
            key = self.keys.recv() => key.unwrap_or(Key::Quit),
            _ = self.resized.recv() => Key::Redraw,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no remedy for a failure here.
        let _ = execute!(stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Returns how large the terminal is, if there is one.
pub fn size() -> Option<Size> {
    let (width, height) = terminal::size().ok()?;
    (width > 0 && height > 0).then_some(Size { width: usize::from(width), height: usize::from(height) })
}

/// Reads keys on a thread of their own: a read of a terminal cannot be cancelled, and must not delay the end.
fn read_keys() -> mpsc::Receiver<Key> {
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        loop {
            let read = std::io::stdin().lock().read(&mut bytes).unwrap_or(0);
            let pressed = if read == 0 { vec![Key::Quit] } else { keys_of(&bytes[..read]) };
            let is_over = pressed.contains(&Key::Quit);
            for key in pressed {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
            if is_over {
                return;
            }
        }
    });
    keys
}

/// Understands what a terminal sends in raw mode: letters, and arrows as escape sequences.
fn keys_of(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (key, length) = match rest {
            [0x1b, b'[' | b'O', b'B' | b'C', ..] => (Some(Key::Next), 3),
            [0x1b, b'[' | b'O', b'A' | b'D', ..] => (Some(Key::Previous), 3),
            // Other keys with escape sequences have no meaning here.
            [0x1b, _, ..] => (None, rest.len()),
            [0x1b] => (Some(Key::Quit), 1),
            _ => (plain_key(*first), 1),
        };
        keys.extend(key);
        rest = &rest[length..];
    }
    keys
}

const fn plain_key(byte: u8) -> Option<Key> {
    match byte {
        // Ctrl-C and Ctrl-D are mere bytes in raw mode.
        b'q' | b'Q' | 0x03 | 0x04 => Some(Key::Quit),
        b'j' | b'\t' | b'n' => Some(Key::Next),
        b'k' | b'p' => Some(Key::Previous),
        0x0c => Some(Key::Redraw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_out_of_what_a_terminal_sends() {
        for (bytes, keys) in [
            (&b"q"[..], &[Key::Quit][..]),
            (&[3], &[Key::Quit]),
            (&[0x1b], &[Key::Quit]),
            (b"jk", &[Key::Next, Key::Previous]),
            (b"\x1b[B\x1b[A\x1bOB", &[Key::Next, Key::Previous, Key::Next]),
            (b"\x1b[3~", &[]),
            (b"xyz", &[]),
        ] {
            assert_eq!(keys_of(bytes), keys, "{bytes:?}");
        }
    }
}
