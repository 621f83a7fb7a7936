//! What shows the demo: a screen of its own on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;

use forerunner_console::output::{self, Output};
use forerunner_lab::demo::{DemoSample, Emphasis, FrameLine, ScreenContent, View, frame, plain_line};

use crate::commands::top::{
    frame::{Line, Tone},
    screen::{Key, Screen},
};

/// Seconds between two plain lines.
const PLAIN_PERIOD_S: f64 = 5.0;

/// Shows the live part.
pub struct DemoView {
    /// What is shown beside the pools.
    pub content: ScreenContent,
    screen: Option<Screen>,
    past: Vec<DemoSample>,
    next_plain_s: f64,
}

impl DemoView {
    /// Opens a screen if there is a terminal for it.
    pub fn open(content: ScreenContent, out: &Output) -> anyhow::Result<Self> {
        let has_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !out.is_json();
        let screen = if has_terminal { Some(Screen::open()?) } else { None };
        Ok(Self { content, screen, past: Vec::new(), next_plain_s: 0.0 })
    }

    /// Whether it has a screen of its own.
    pub const fn has_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// Shows one more sentence of the last part.
    pub fn show_sentence(&mut self, sentence: String) -> anyhow::Result<()> {
        if self.screen.is_none() {
            output::note(&sentence);
        }
        self.content.story.push(sentence);
        self.draw()
    }

    fn draw(&self) -> anyhow::Result<()> {
        let Some(screen) = &self.screen else { return Ok(()) };
        let size = screen.size();
        let lines = frame(&self.content, &self.past, size.width, size.height);
        screen.draw(&lines.into_iter().map(line).collect::<Vec<_>>())
    }
}

fn line(line: FrameLine) -> Line {
    let tone = match line.emphasis {
        Emphasis::None => Tone::Plain,
        Emphasis::Strong => Tone::Strong,
        Emphasis::Faint => Tone::Faint,
    };
    Line::toned(tone, line.text)
}

impl View for DemoView {
    fn show(&mut self, past: &[DemoSample]) -> anyhow::Result<bool> {
        self.past = past.to_vec();
        let Some(screen) = &mut self.screen else {
            if let Some(now) = past.last().filter(|now| now.t >= self.next_plain_s) {
                self.next_plain_s = now.t + PLAIN_PERIOD_S;
                output::note(&plain_line(&self.content, now));
            }
            return Ok(true);
        };
        while let Some(key) = screen.pressed() {
            if key == Key::Quit {
                return Ok(false);
            }
        }
        self.draw()?;
        Ok(true)
    }
}
