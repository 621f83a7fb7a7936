//! Contexts: only what the agent lacks is sent.

use super::*;
use forerunner_runtime::agent::Transfer;

/// An agent that stores contexts, records the loads that it receives, and changes its context as the input says.
const KEEPER: &str = r#"
held = {}
def note(text):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(text + "\n")
def other(request):
    params = request["params"]
    if request["method"] == "context/load":
        said = "edit %(edit)s" if "edit" in params else "%(items)s"
        note(("load %(id)s v%(version)s base %(base)s " + said) % params)
        version, items = held.get(params["id"], (None, []))
        if params["base"] is None:
            items = []
        elif params["base"] != version:
            return refuse(request, -32003, "not held")
        items = edited(items, params["edit"]) if "edit" in params else items + params["items"]
        held[params["id"]] = (params["version"], items)
    elif request["method"] == "context/drop":
        note("drop %(id)s" % params)
        del held[params["id"]]
    answer(request, {})
def run(request):
    params = request["params"]
    change = params["input"]
    if change == "fail":
        return refuse(request, -32000, "failed")
    if change == "forget":
        held.clear()
        change = None
    items = []
    if params["context"]:
        id = params["context"]["id"]
        if id not in held:
            return refuse(request, -32003, "not held")
        items = list(held[id][1])
        if "items" in params["context"] and params["context"]["items"] != len(items):
            return refuse(request, -32003, "another number of items")
        kept = items + change["append"] if change and "append" in change else items
        kept = change["replace"] if change and "replace" in change else kept
        kept = edited(items, change["edit"]) if change and "edit" in change else kept
        held[id] = (params["context"]["version"], kept)
    answer(request, {"output": items, "context": change} if change else {"output": items})
"#;

struct Keeper {
    rig: Rig,
    driver: ProcessDriver,
}

impl Keeper {
    async fn start(contexts: u32, change: impl FnOnce(&mut ProcessSpec)) -> Self {
        Self::speaking(1, contexts, change).await
    }

    async fn speaking(protocol: u32, contexts: u32, change: impl FnOnce(&mut ProcessSpec)) -> Self {
        let hello = format!("hello({contexts}, {protocol})");
        let rig = Rig::python(&format!("{KEEPER}\n{hello}\nserve(run, other)")).with_notes().with(change);
        let driver = rig.start().await;
        Self { rig, driver }
    }

    /// Runs a task in a context. Returns the context afterwards, what the agent saw, and what it received.
    async fn turn(
        &mut self,
        id: &str,
        version: u64,
        items: &[&str],
        input: &str,
    ) -> (Vec<String>, String, Vec<String>) {
        let (after, seen, sent, _) = self.turn_at_cost(id, version, items, input).await;
        (after, seen, sent)
    }

    /// As `turn`, with the cost.
    async fn turn_at_cost(
        &mut self,
        id: &str,
        version: u64,
        items: &[&str],
        input: &str,
    ) -> (Vec<String>, String, Vec<String>, Transfer) {
        let before = self.rig.read_notes().len();
        let attempt = attempt(input);
        let mut cx = context(&attempt, id, version, items);
        let seen = match self.driver.run(&attempt, &mut cx).await {
            Ok(output) => output.as_str().replace(' ', ""),
            Err(error) => error.message().to_owned(),
        };
        (texts(&cx), seen, self.rig.read_notes().split_off(before), cx.transfer())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_edit_of_others_is_sent_as_its_steps() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    keeper.turn("c", 1, &["1", "2", "3", "4", "5"], "null").await;
    let (_, seen, sent) = keeper.turn("c", 2, &["1", "9", "4", "5", "6"], "null").await;
    assert_eq!(seen, "[1,9,4,5,6]");
    assert_eq!(sent, ["load c v2 base 1 edit [{'copy': [0, 1]}, {'insert': [9]}, {'copy': [3, 2]}, {'insert': [6]}]"]);
    let (_, seen, sent) = keeper.turn("c", 3, &["1", "9", "4", "5", "6", "7"], "null").await;
    assert_eq!((seen.as_str(), sent), ("[1,9,4,5,6,7]", vec!["load c v3 base 2 [7]".to_owned()]));
    let (_, seen, sent) = keeper.turn("c", 4, &["8"], "null").await;
    assert_eq!((seen.as_str(), sent), ("[8]", vec!["load c v4 base None [8]".to_owned()]), "nothing is left of it");
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_edits_its_context_at_the_price_of_the_edit() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    let long = format!("\"{}\"", "x".repeat(2_000));
    let (_, _, _, first) = keeper.turn_at_cost("c", 1, &["1", &long, "3"], "null").await;
    assert!(first.to_agent_bytes > 2_000 && first.from_agent_bytes == 0 && first.load_s > 0.0, "{first:?}");
    let edit = r#"{"edit": [{"copy": [0, 1]}, {"insert": ["cut"]}, {"copy": [2, 1]}]}"#;
    let (after, _, sent, second) = keeper.turn_at_cost("c", 1, &["1", &long, "3"], edit).await;
    assert_eq!((after, sent.len()), (vec!["1".to_owned(), "\"cut\"".to_owned(), "3".to_owned()], 0));
    assert!(second.to_agent_bytes == 0 && (60..200).contains(&second.from_agent_bytes), "{second:?}");
    let (_, seen, sent) = keeper.turn("c", 2, &["1", "\"cut\"", "3"], "null").await;
    assert_eq!((seen.as_str(), sent.len()), (r#"[1,"cut",3]"#, 0), "both hold the same");
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_edit_of_items_that_are_not_there_is_a_named_error() {
    for steps in ["[{\"copy\": [1, 2]}]", "[{\"copy\": [18446744073709551615, 2]}]"] {
        let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
        let input = format!(r#"{{"edit": {steps}}}"#);
        let attempt = attempt(&input);
        let mut cx = context(&attempt, "c", 1, &["1", "2"]);
        let error = timeout(SOON, keeper.driver.run(&attempt, &mut cx)).await.unwrap().unwrap_err();
        assert_replaced(&error, ErrorKind::AgentProtocol, "of a context of 2");
        assert_eq!(texts(&cx), ["1", "2"]);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn after_a_failed_task_a_newer_agent_holds_what_it_held() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    keeper.turn("c", 1, &["1"], "null").await;
    let (_, error, sent) = keeper.turn("c", 2, &["1", "2"], r#""fail""#).await;
    assert_eq!((error.as_str(), sent), ("failed", vec!["load c v2 base 1 [2]".to_owned()]));
    let (_, seen, sent) = keeper.turn("c", 2, &["1", "2"], "null").await;
    assert_eq!((seen.as_str(), sent.len()), ("[1,2]", 0));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_context_that_was_removed_is_dropped_before_the_next_task() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    keeper.turn("c", 1, &["1"], "null").await;
    keeper.driver.forget(&ContextId::new("c").unwrap());
    keeper.driver.forget(&ContextId::new("never-seen").unwrap());
    let (_, seen, sent) = keeper.turn("c", 1, &["2"], "null").await;
    assert_eq!((seen.as_str(), sent), ("[2]", vec!["drop c".to_owned(), "load c v1 base None [2]".to_owned()]));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_lost_its_memory_is_sent_all_and_it_shows() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    keeper.turn("c", 1, &["1", "2"], "null").await;
    assert_eq!(run(&mut keeper.driver, r#""forget""#).await.unwrap(), "[]");
    let (_, seen, sent, cost) = keeper.turn_at_cost("c", 2, &["1", "3"], "null").await;
    let edit = "load c v2 base 1 edit [{'copy': [0, 1]}, {'insert': [3]}]";
    assert_eq!((seen.as_str(), sent), ("[1,3]", vec![edit.to_owned(), "load c v2 base None [1, 3]".to_owned()]));
    assert!(cost.agent_lost_it, "{cost:?}");
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_is_sent_only_what_it_lacks() {
    let mut keeper = Keeper::start(4, |_| ()).await;
    let nothing: [&str; 0] = [];

    let (after, seen, sent) = keeper.turn("c", 0, &[], r#"{"append": [1, {"two":2}]}"#).await;
    assert_eq!(sent, ["load c v0 base None []"]);
    assert_eq!((after.as_slice(), seen.as_str()), (&["1".to_owned(), r#"{"two": 2}"#.to_owned()][..], "[]"));

    // Items that it appended itself are resident, whatever their version.
    let (_, seen, sent) = keeper.turn("c", 1, &["1", r#"{"two": 2}"#], "null").await;
    assert_eq!((seen.as_str(), sent.as_slice()), (r#"[1,{"two":2}]"#, &nothing.map(str::to_owned)[..]));

    // Another agent extended the context: the node sends the rest.
    let (_, seen, sent) = keeper.turn("c", 5, &["1", r#"{"two": 2}"#, "3", "4"], "null").await;
    assert_eq!(seen, r#"[1,{"two":2},3,4]"#);
    assert_eq!(sent, ["load c v5 base 1 [3, 4]"]);

    // Another agent compacted it: all of it follows.
    let (_, seen, sent) = keeper.turn("c", 6, &["5"], r#"{"replace": [6, 7]}"#).await;
    assert_eq!((seen.as_str(), sent.as_slice()), ("[5]", &["load c v6 base None [5]".to_owned()][..]));
    let (after, seen, sent) = keeper.turn("c", 7, &["6", "7"], "null").await;
    assert_eq!((after, seen.as_str(), sent.len()), (vec!["6".to_owned(), "7".to_owned()], "[6,7]", 0));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn after_a_failed_task_the_context_is_sent_anew() {
    let mut keeper = Keeper::start(4, |_| ()).await;
    keeper.turn("c", 1, &["1"], "null").await;
    let (after, error, sent) = keeper.turn("c", 1, &["1"], r#""fail""#).await;
    assert_eq!((after, error.as_str(), sent.len()), (vec!["1".to_owned()], "failed", 0));
    let (_, _, sent) = keeper.turn("c", 1, &["1"], "null").await;
    assert_eq!(sent, ["load c v1 base None [1]"]);
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_dropped_a_context_by_itself_gets_it_again() {
    let mut keeper = Keeper::start(4, |_| ()).await;
    keeper.turn("c", 1, &["1"], "null").await;
    assert_eq!(run(&mut keeper.driver, r#""forget""#).await.unwrap(), "[]");
    let (_, seen, sent) = keeper.turn("c", 2, &["1", "2"], "null").await;
    assert_eq!(
        (seen.as_str(), sent.as_slice()),
        ("[1,2]", &["load c v2 base 1 [2]", "load c v2 base None [1, 2]"].map(str::to_owned)[..])
    );
    // With nothing to load, only the task shows that the agent lost the context.
    assert_eq!(run(&mut keeper.driver, r#""forget""#).await.unwrap(), "[]");
    let (_, seen, sent) = keeper.turn("c", 2, &["1", "2"], "null").await;
    assert_eq!((seen.as_str(), sent.as_slice()), ("[1,2]", &["load c v2 base None [1, 2]".to_owned()][..]));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_context_used_longest_ago_is_dropped_first() {
    let mut keeper = Keeper::start(2, |_| ()).await;
    for id in ["a", "b", "a"] {
        keeper.turn(id, 1, &["1"], "null").await;
    }
    let (_, _, sent) = keeper.turn("c", 1, &["1"], "null").await;
    assert_eq!(sent, ["drop b", "load c v1 base None [1]"]);
    assert_eq!(keeper.turn("a", 1, &["1"], "null").await.2.len(), 0);
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_context_larger_than_a_line_comes_in_pieces() {
    let mut keeper = Keeper::start(2, |spec| spec.max_line_bytes = 1_024).await;
    let item = format!("\"{}\"", "x".repeat(300));
    let (_, _, sent) = keeper.turn("c", 3, &[item.as_str(); 3], r#"{"append": [1]}"#).await;
    let heads: Vec<&str> = sent.iter().map(|line| line.split_once(" [").unwrap().0).collect();
    assert_eq!(heads, ["load c v3 base None", "load c v3 base 3", "load c v3 base 3"]);
    // The answer with its three items is longer than a line may be.
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_without_memory_hears_of_no_context() {
    let mut keeper = Keeper::start(0, |_| ()).await;
    let (after, seen, sent) = keeper.turn("c", 1, &["1"], r#"{"replace": []}"#).await;
    assert_eq!((after, seen.as_str(), sent.len()), (vec!["1".to_owned()], "[]", 0));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_context_change_that_makes_no_sense_is_a_named_error() {
    for change in [r#"{"append": 1}"#, r#"{"apend": [1]}"#, r#"{"append": [1], "replace": []}"#] {
        let rig = Rig::python(&format!(
            r#"
hello()
serve(lambda request: answer(request, {{"output": 1, "context": json.loads('{change}')}}))
"#
        ));
        let error = run_and_fail(&mut rig.start().await, "1").await;
        assert_replaced(&error, ErrorKind::AgentProtocol, "answered `task/run` with a result that is not valid");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_context_is_held_if_nothing_had_to_be_sent_whatever_was_done_in_between() {
    let mut keeper = Keeper::speaking(2, 4, |_| {}).await;
    for (turn, (id, version, items, input, held)) in [
        ("a", 0, &[][..], r#"{"append":[1]}"#, false),
        ("b", 0, &[], r#"{"append":[1]}"#, false),
        ("a", 1, &["1"], r#"{"append":[2]}"#, true),
        ("b", 2, &["1", "5"], "null", false),
        ("b", 2, &["1", "5"], "null", true),
    ]
    .into_iter()
    .enumerate()
    {
        let attempt = attempt(input);
        let mut cx = context(&attempt, id, version, items);
        keeper.driver.run(&attempt, &mut cx).await.unwrap();
        assert_eq!(cx.transfer().was_resident, Some(held), "turn {turn}");
    }
    run(&mut keeper.driver, "\"forget\"").await.unwrap();
    let attempt = attempt("null");
    let mut cx = context(&attempt, "a", 2, &["1", "2"]);
    keeper.driver.run(&attempt, &mut cx).await.unwrap();
    assert_eq!((cx.transfer().was_resident, cx.transfer().agent_lost_it), (Some(false), true));
    stop(keeper.driver).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_item_that_not_every_agent_can_read_is_mended_or_refused_and_both_sides_hold_the_same_after() {
    let mut keeper = Keeper::speaking(2, 4, |_| ()).await;
    let run = async |keeper: &mut Keeper, version, items: &[&str], input: &str| {
        let attempt = AttemptRequest { input: Payload::trusted(input), ..attempt("null") };
        let mut cx = context(&attempt, "c", version, items);
        let ended = keeper.driver.run(&attempt, &mut cx).await;
        (ended, texts(&cx))
    };
    // The agent has its own text, the node the repaired one: the node sends the repaired one.
    let (ended, after) = run(&mut keeper, 1, &["1"], r#"{"append": ["cut \ud83d"]}"#).await;
    ended.unwrap();
    assert_eq!(after, ["1", r#""cut \ufffd""#]);
    let (ended, _) = run(&mut keeper, 2, &["1", r#""cut \ufffd""#], "null").await;
    assert_eq!(ended.unwrap().as_str().replace(' ', ""), r#"[1,"cut\ufffd"]"#);
    // A rejected change is not stored, although the agent assumes that it is.
    let deep = format!("{}{}", "[".repeat(150), "]".repeat(150));
    for change in ["append", "replace"] {
        let (ended, _) = run(&mut keeper, 2, &["1", "2"], &format!(r#"{{"{change}": [7, {deep}]}}"#)).await;
        let error = ended.unwrap_err();
        assert_eq!((error.kind(), error.is_agent_usable()), (ErrorKind::TooLarge, true), "{error}");
        assert!(error.message().contains("of the context is nested 150 levels deep, the limit is 100"), "{error}");
        let (ended, _) = run(&mut keeper, 2, &["1", "2"], "null").await;
        assert_eq!(ended.unwrap().as_str().replace(' ', ""), "[1,2]", "{change}");
    }
    stop(keeper.driver).await;
}
