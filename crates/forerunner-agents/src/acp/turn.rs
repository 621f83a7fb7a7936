//! One turn of a session, in the shape of version 2 of the protocol: accepted, running, requires action, idle.
//!
//! Version 1 is mapped onto it: its prompt is accepted and running until it is answered, and the answer is the idle state.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    permission::Permission,
    rpc::RpcError,
    update::{Activity, StopReason, ToolStatus, Update},
};

/// Where a turn is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TurnState {
    /// The prompt was sent.
    Submitted,
    /// The agent has accepted the prompt.
    Accepted,
    /// The agent works on it.
    Running,
    /// The agent waits for the answer to a permission.
    RequiresAction,
    /// The turn has ended.
    Idle(StopReason),
    /// The agent refused the prompt.
    Refused(RpcError),
}

/// Something that happened in a turn.
#[derive(Debug)]
pub(super) enum TurnEvent {
    /// The agent reported.
    Update(Update),
    /// The agent answered `session/prompt`: in version 1 with the reason of the end.
    Answered(Result<Option<StopReason>, RpcError>),
    /// The agent asks for a permission. The id is that of its request.
    Asked(Box<RawValue>, Permission),
    /// The oldest open permission was answered, and whether it was granted.
    Replied(bool),
    /// The node cancels the turn.
    Cancel,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum TurnAction {
    /// Stream a piece of the output.
    Output(String),
    /// Show a line about the progress.
    Progress(String),
    /// Decide on the oldest open permission.
    Decide,
    /// Send `session/cancel`.
    SendCancel,
    /// Answer this permission `cancelled`.
    Dismiss(Box<RawValue>),
}

/// Decides what each message makes of a turn.
#[derive(Debug)]
pub(super) struct TurnMachine {
    version: u32,
    state: TurnState,
    messages: Vec<(Option<String>, String)>,
    /// Titles of tool calls in the order in which they began, and whether they are open.
    tools: Vec<String>,
    open_tools: BTreeMap<String, bool>,
    /// Permissions without an answer, oldest first.
    asked: Vec<(Box<RawValue>, Permission)>,
    usage: BTreeMap<String, u64>,
    failure: Option<String>,
    is_cancelled: bool,
    /// Whether a permission of it was refused.
    was_refused: bool,
    /// Texts with which a message of the agent's adapter begins.
    notices: Arc<[String]>,
    stall_timeout: Duration,
    last_at: Instant,
}

/// Most tool calls that a turn lists, and most bytes of a title: they become part of the context.
const MOST_TOOLS: usize = 1_000;
const TITLE_BYTES: usize = 300;

impl TurnMachine {
    pub fn new(version: u32, notices: Arc<[String]>, stall_timeout: Duration, now: Instant) -> Self {
        Self {
            version,
            state: TurnState::Submitted,
            messages: Vec::new(),
            tools: Vec::new(),
            open_tools: BTreeMap::new(),
            asked: Vec::new(),
            usage: BTreeMap::new(),
            failure: None,
            is_cancelled: false,
            was_refused: false,
            notices,
            stall_timeout,
            last_at: now,
        }
    }

    pub const fn state(&self) -> &TurnState {
        &self.state
    }

    pub const fn has_ended(&self) -> bool {
        matches!(self.state, TurnState::Idle(_) | TurnState::Refused(_))
    }

    /// The oldest permission without an answer.
    pub fn open_permission(&self) -> Option<&(Box<RawValue>, Permission)> {
        self.asked.first()
    }

    /// The text of the answer so far.
    pub fn text(&self) -> String {
        self.messages.iter().map(|(_, text)| text.as_str()).collect()
    }

    pub fn tools(&self) -> &[String] {
        &self.tools
    }

    pub const fn usage(&self) -> &BTreeMap<String, u64> {
        &self.usage
    }

    /// Why the turn failed, if its end does not show it.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub const fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    /// Whether a permission of it was refused.
    pub const fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// When the turn counts as stalled, unless the agent reports something. A tool may take as long as it needs, and so may
    /// a person.
    pub fn stalls_at(&self) -> Option<Instant> {
        let waits = self.has_ended() || !self.asked.is_empty() || self.open_tools.values().any(|is_open| *is_open);
        if waits || self.stall_timeout.is_zero() { None } else { self.last_at.checked_add(self.stall_timeout) }
    }

    pub fn step(&mut self, event: TurnEvent, now: Instant) -> Vec<TurnAction> {
        if self.has_ended() {
            // A permission of a turn that ended is never granted.
            return match event {
                TurnEvent::Asked(id, _) => vec![TurnAction::Dismiss(id)],
                _ => Vec::new(),
            };
        }
        self.last_at = now;
        match event {
            TurnEvent::Update(update) => self.on_update(update),
            TurnEvent::Answered(answer) => self.on_answer(answer),
            TurnEvent::Asked(id, _) if self.is_cancelled => vec![TurnAction::Dismiss(id)],
            TurnEvent::Asked(id, permission) => {
                self.asked.push((id, permission));
                self.state = TurnState::RequiresAction;
                if self.asked.len() == 1 { vec![TurnAction::Decide] } else { Vec::new() }
            }
            TurnEvent::Replied(granted) => self.on_replied(granted),
            TurnEvent::Cancel if self.is_cancelled => Vec::new(),
            TurnEvent::Cancel => {
                self.is_cancelled = true;
                // Without the answers some agents never end the turn.
                let open = std::mem::take(&mut self.asked).into_iter().map(|(id, _)| TurnAction::Dismiss(id));
                std::iter::once(TurnAction::SendCancel).chain(open).collect()
            }
        }
    }

    fn on_replied(&mut self, granted: bool) -> Vec<TurnAction> {
        self.was_refused |= !granted;
        if !self.asked.is_empty() {
            self.asked.remove(0);
        }
        if !self.asked.is_empty() {
            return vec![TurnAction::Decide];
        }
        self.state = TurnState::Running;
        Vec::new()
    }

    fn on_answer(&mut self, answer: Result<Option<StopReason>, RpcError>) -> Vec<TurnAction> {
        match answer {
            Err(error) => return self.end(TurnState::Refused(error)),
            Ok(Some(stop)) if self.version == 1 => return self.end(TurnState::Idle(stop)),
            Ok(None) if self.version == 1 => {
                return self.end(TurnState::Idle(StopReason::Other("none".to_owned())));
            }
            Ok(_) if self.state == TurnState::Submitted => self.state = TurnState::Accepted,
            Ok(_) => {}
        }
        Vec::new()
    }

    fn on_update(&mut self, update: Update) -> Vec<TurnAction> {
        match update {
            Update::Text { message, text } => self.on_text(message, text, false),
            Update::WholeText { message, text } => self.on_text(message, text, true),
            Update::Tool { id, title, status } => self.on_tool(id, title, status),
            Update::State(activity) => self.on_activity(activity),
            Update::Notice(text) => vec![TurnAction::Progress(text)],
            Update::Failure(why) => {
                self.failure = Some(why);
                Vec::new()
            }
            Update::Usage(counts) => {
                self.usage.extend(counts);
                Vec::new()
            }
            Update::Other => Vec::new(),
        }
    }

    fn on_text(&mut self, message: Option<String>, text: String, is_whole: bool) -> Vec<TurnAction> {
        if text.is_empty() && !is_whole {
            return Vec::new();
        }
        if self.notices.iter().any(|notice| text.trim_start().starts_with(notice.as_str())) {
            return vec![TurnAction::Progress(text.trim().to_owned())];
        }
        let at = match &message {
            Some(_) => self.messages.iter().position(|(id, _)| *id == message),
            None => self.messages.len().checked_sub(1).filter(|last| self.messages[*last].0.is_none()),
        };
        let at = at.unwrap_or_else(|| {
            self.messages.push((message, String::new()));
            self.messages.len() - 1
        });
        let whole = &mut self.messages[at].1;
        let more =
            if is_whole { text.strip_prefix(whole.as_str()).unwrap_or_default().to_owned() } else { text.clone() };
        match is_whole {
            true => *whole = text,
            false => whole.push_str(&text),
        }
        if more.is_empty() { Vec::new() } else { vec![TurnAction::Output(more)] }
    }

    fn on_tool(&mut self, id: String, title: Option<String>, status: ToolStatus) -> Vec<TurnAction> {
        let is_new = !self.open_tools.contains_key(&id);
        if is_new && self.open_tools.len() >= MOST_TOOLS {
            return Vec::new();
        }
        let was_open = self.open_tools.get(&id).copied().unwrap_or(true);
        let is_open = match status {
            ToolStatus::Open => true,
            ToolStatus::Ended => false,
            ToolStatus::Unsaid => was_open,
        };
        self.open_tools.insert(id, is_open);
        match title.filter(|title| is_new && !title.is_empty()) {
            Some(title) => {
                let title = cut(title);
                self.tools.push(title.clone());
                vec![TurnAction::Progress(title)]
            }
            None => Vec::new(),
        }
    }

    fn on_activity(&mut self, activity: Activity) -> Vec<TurnAction> {
        if self.version == 1 {
            return Vec::new();
        }
        match activity {
            Activity::Running if self.asked.is_empty() => self.state = TurnState::Running,
            Activity::Running | Activity::RequiresAction => {}
            // A snapshot of the turn before may arrive until the prompt is accepted.
            Activity::Idle(_) if self.state == TurnState::Submitted => {}
            Activity::Idle(stop) => {
                return self.end(TurnState::Idle(stop.unwrap_or_else(|| StopReason::Other("none".to_owned()))));
            }
        }
        Vec::new()
    }

    fn end(&mut self, state: TurnState) -> Vec<TurnAction> {
        self.state = state;
        std::mem::take(&mut self.asked).into_iter().map(|(id, _)| TurnAction::Dismiss(id)).collect()
    }
}

fn cut(title: String) -> String {
    match title.char_indices().nth(TITLE_BYTES) {
        Some((end, _)) => format!("{}…", &title[..end]),
        None => title,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    fn id(number: u32) -> Box<RawValue> {
        serde_json::value::to_raw_value(&number).unwrap()
    }

    fn permission() -> Permission {
        let (session, title, tool) = ("s".into(), "touch".into(), "execute".into());
        Permission { session, title, tool, paths: Vec::new(), input: None, options: Vec::new() }
    }

    fn text(text: &str) -> TurnEvent {
        TurnEvent::Update(Update::Text { message: None, text: text.into() })
    }

    fn tool(status: ToolStatus) -> TurnEvent {
        TurnEvent::Update(Update::Tool { id: "t".into(), title: Some("ls".into()), status })
    }

    fn machine(version: u32) -> (TurnMachine, Instant) {
        let now = Instant::now();
        (TurnMachine::new(version, Arc::new(["Warning:".to_owned()]), STALL, now), now)
    }

    fn names(actions: &[TurnAction]) -> Vec<String> {
        let name = |action: &TurnAction| match action {
            TurnAction::Output(text) => format!("output {text}"),
            TurnAction::Progress(text) => format!("progress {text}"),
            TurnAction::Decide => "decide".to_owned(),
            TurnAction::SendCancel => "cancel".to_owned(),
            TurnAction::Dismiss(id) => format!("dismiss {id}"),
        };
        actions.iter().map(name).collect()
    }

    fn idle(stop: Option<StopReason>) -> TurnEvent {
        TurnEvent::Update(Update::State(Activity::Idle(stop)))
    }

    #[test]
    fn a_turn_of_version_1_ends_with_the_answer_to_its_prompt() {
        let (mut turn, now) = machine(1);
        assert_eq!(names(&turn.step(text("Warning: odd model\n\n"), now)), ["progress Warning: odd model"]);
        assert_eq!(names(&turn.step(text("hel"), now)), ["output hel"]);
        assert_eq!(names(&turn.step(tool(ToolStatus::Open), now)), ["progress ls"]);
        assert!(turn.step(tool(ToolStatus::Ended), now).is_empty());
        turn.step(text("lo"), now);
        assert!(turn.step(idle(Some(StopReason::EndTurn)), now).is_empty() && !turn.has_ended(), "version 2 only");
        turn.step(TurnEvent::Answered(Ok(Some(StopReason::EndTurn))), now);
        assert_eq!((turn.state(), turn.text().as_str()), (&TurnState::Idle(StopReason::EndTurn), "hello"));
        assert_eq!(turn.tools(), ["ls"]);
        assert!(turn.step(text("late"), now).is_empty());
    }

    #[test]
    fn a_turn_of_version_2_ends_with_the_idle_state_after_it_was_accepted() {
        let (mut turn, now) = machine(2);
        turn.step(idle(Some(StopReason::Cancelled)), now);
        assert_eq!(turn.state(), &TurnState::Submitted, "a snapshot of the turn before");
        turn.step(TurnEvent::Answered(Ok(None)), now);
        assert_eq!(turn.state(), &TurnState::Accepted);
        turn.step(TurnEvent::Update(Update::State(Activity::Running)), now);
        let message = |text: &str, whole| {
            let (message, text) = (Some("m".to_owned()), text.to_owned());
            TurnEvent::Update(if whole { Update::WholeText { message, text } } else { Update::Text { message, text } })
        };
        assert_eq!(names(&turn.step(message("po", false), now)), ["output po"]);
        assert_eq!(names(&turn.step(message("pong", true), now)), ["output ng"]);
        turn.step(idle(Some(StopReason::EndTurn)), now);
        assert_eq!((turn.state(), turn.text().as_str()), (&TurnState::Idle(StopReason::EndTurn), "pong"));
    }

    #[test]
    fn permissions_are_decided_one_after_the_other_and_dismissed_by_a_cancellation() {
        let (mut turn, now) = machine(1);
        assert_eq!(names(&turn.step(TurnEvent::Asked(id(1), permission()), now)), ["decide"]);
        assert!(turn.step(TurnEvent::Asked(id(2), permission()), now).is_empty());
        assert_eq!((turn.state(), turn.stalls_at()), (&TurnState::RequiresAction, None));
        assert_eq!(names(&turn.step(TurnEvent::Replied(true), now)), ["decide"]);
        assert_eq!(names(&turn.step(TurnEvent::Cancel, now)), ["cancel", "dismiss 2"]);
        assert_eq!(names(&turn.step(TurnEvent::Asked(id(3), permission()), now)), ["dismiss 3"]);
        assert!(turn.step(TurnEvent::Cancel, now).is_empty(), "once");
        turn.step(TurnEvent::Answered(Ok(Some(StopReason::EndTurn))), now);
        assert!(turn.has_ended() && turn.is_cancelled());
        assert_eq!(names(&turn.step(TurnEvent::Asked(id(4), permission()), now)), ["dismiss 4"]);
    }

    #[test]
    fn silence_counts_unless_a_tool_or_a_person_is_at_work() {
        let (mut turn, now) = machine(1);
        assert_eq!(turn.stalls_at(), Some(now + STALL));
        let later = now + Duration::from_secs(5);
        turn.step(TurnEvent::Update(Update::Other), later);
        assert_eq!(turn.stalls_at(), Some(later + STALL));
        turn.step(tool(ToolStatus::Open), later);
        assert_eq!(turn.stalls_at(), None);
        turn.step(tool(ToolStatus::Ended), later);
        assert!(turn.stalls_at().is_some());
    }

    fn any_event() -> impl Strategy<Value = u8> {
        0..9_u8
    }

    fn event(number: u8) -> TurnEvent {
        match number {
            0 => text("x"),
            1 => tool(ToolStatus::Open),
            2 => tool(ToolStatus::Ended),
            3 => TurnEvent::Asked(id(1), permission()),
            4 => TurnEvent::Replied(true),
            5 => TurnEvent::Cancel,
            6 => TurnEvent::Update(Update::State(Activity::Running)),
            7 => idle(None),
            _ => TurnEvent::Answered(Ok(Some(StopReason::EndTurn))),
        }
    }

    proptest! {
        #[test]
        fn every_permission_is_decided_or_dismissed(numbers in prop::collection::vec(any_event(), 0..40), version in 1..3_u32) {
            let (mut turn, now) = machine(version);
            let (mut asked, mut answered) = (0, 0);
            for number in numbers {
                // A reply is sent only after a decision was asked for.
                if number == 4 && turn.open_permission().is_none() {
                    continue;
                }
                asked += usize::from(number == 3);
                answered += usize::from(number == 4 && !turn.has_ended());
                let actions = turn.step(event(number), now);
                answered += actions.iter().filter(|action| matches!(action, TurnAction::Dismiss(_))).count();
                prop_assert!(turn.open_permission().is_none() || !turn.has_ended());
                let open = usize::from(turn.open_permission().is_some());
                prop_assert!(open <= asked - answered);
            }
            let dismissed = turn.step(TurnEvent::Cancel, now);
            let more = dismissed.iter().filter(|action| matches!(action, TurnAction::Dismiss(_))).count();
            prop_assert_eq!(asked, answered + more);
        }
    }
}
