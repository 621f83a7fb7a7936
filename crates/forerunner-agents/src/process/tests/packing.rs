//! Agents that pack their output: well, badly, and to do harm.

use forerunner_context::{Payloads, train};

use super::{super::protocol::Compression, builtin::builtin, *};

/// Lines of an agent that chooses compression, with blocks that the test encodes itself (RFC 8878 §3.1.1): raw bytes,
/// or one byte repeated. It cannot read what it receives.
const BY_HAND: &str = r#"
out = sys.stdout.buffer

def block(kind, size, content=b""):
    return (size << 3 | kind << 1).to_bytes(3, "little") + content

def raw(text):
    return block(0, len(text), text)

def repeated(byte, count):
    return block(1, count, byte)

def frame(window_log):
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3])

def write(data):
    out.write(data)
    out.flush()

def hear():
    if not os.read(0, 65536):
        sys.exit(0)

request = receive()
assert request["params"]["compression"] == ["zstd"], request
assert request["params"]["limits"]["compression_window_bytes"] == 1 << 20, request
answer(request, {"protocol": 2, "agent": {"name": "by hand"}, "compression": "zstd"})
def result(number, output):
    return raw(json.dumps({"jsonrpc": "2.0", "id": number, "result": {"output": output}}).encode() + b"\n")
"#;

fn by_hand(lines: &str) -> Rig {
    Rig::python(&format!("{BY_HAND}\n{lines}\ntime.sleep(1000)"))
}

async fn protocol_error(lines: &str, says: &str) {
    let mut driver = by_hand(lines).start().await;
    let pid = driver.pid().unwrap();
    assert_replaced(&run_and_fail(&mut driver, "1").await, ErrorKind::AgentProtocol, says);
    drop(driver);
    eventually("it is gone", || !exists(pid)).await;
}

/// A dictionary trained on ten sessions of similar turns.
fn learnt() -> Dictionary {
    let turn = |number: u32| {
        let text = (number % 40..number % 40 + 60).map(|word: u32| format!("word{} ", word.pow(2))).collect::<String>();
        format!(r#"{{"role":"assistant","content":"{text}","number":{number}}}"#).into_bytes()
    };
    let session = |session: u32| -> Payloads { (0..20).map(|number| turn(session * 131 + number * 17)).collect() };
    train(&(0..10).map(session).collect::<Vec<_>>()).unwrap()
}

/// Bytes over the pipe, in both directions, of similar turns in one context each.
async fn moved(rig: &Rig) -> (Option<Compression>, u64, u64) {
    let mut driver = rig.start().await;
    let prompt = format!("\"{}\"", (0..400).map(|number: u32| number.pow(3).to_string()).collect::<String>());
    let (mut to_agent, mut from_agent) = (0, 0);
    for number in 0..20 {
        let said = format!(r#"{{"service_s":0,"context":{{"append":[{prompt},{number}]}}}}"#);
        let attempt = attempt(&said);
        let mut cx = context(&attempt, &format!("c{number}"), 1, &[&prompt, "{\"role\":\"user\"}"]);
        driver.run(&attempt, &mut cx).await.unwrap();
        assert_eq!(texts(&cx), [&prompt, "{\"role\":\"user\"}", &prompt, &number.to_string()]);
        assert_eq!(cx.transfer().was_resident, Some(false));
        to_agent += cx.transfer().to_agent_bytes;
        from_agent += cx.transfer().from_agent_bytes;
    }
    let chosen = driver.info().compression;
    stop(driver).await;
    (chosen, to_agent, from_agent)
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_said_in_another_context_costs_next_to_nothing_once_packed() {
    let (chosen, packed_to, packed_from) = moved(&builtin()).await;
    assert_eq!(chosen, Some(Compression::Zstd));
    let (chosen, plain_to, plain_from) = moved(&builtin().with(|spec| spec.compression_window_bytes = 0)).await;
    assert_eq!(chosen, None);
    println!("to the agent {packed_to} of {plain_to} bytes, from it {packed_from} of {plain_from}");
    assert!(packed_to * 8 < plain_to, "to the agent {packed_to} of {plain_to} bytes");
    assert!(packed_from * 8 < plain_from, "from the agent {packed_from} of {plain_from} bytes");
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_pool_has_learnt_need_not_be_said_even_once() {
    let text = (7u32..67).map(|word| format!("word{} ", word.pow(2))).collect::<String>();
    let said = format!(r#"{{"service_s":0,"context":{{"append":[{{"role":"assistant","content":"{text}"}}]}}}}"#);
    let mut moved = Vec::new();
    for dictionary in [None, Some(learnt())] {
        let rig = Rig { dictionary, ..builtin() };
        let mut driver = rig.start().await;
        assert_eq!(driver.info().dictionary, rig.dictionary.as_ref().map(|learnt| learnt.id().to_string()));
        for context_number in 0..2 {
            let attempt = attempt(&said);
            let held = format!(r#"{{"role":"assistant","content":"{text}"}}"#);
            let mut cx = context(&attempt, &format!("c{context_number}"), 1, &[&held]);
            driver.run(&attempt, &mut cx).await.unwrap();
            assert_eq!(texts(&cx).len(), 2);
            moved.push(cx.transfer().to_agent_bytes);
        }
        stop(driver).await;
    }
    let [first, second, first_learnt, _] = moved[..] else { panic!("{moved:?}") };
    println!("the first time {first} bytes, {first_learnt} with a dictionary; the second time {second}");
    assert!(first > 200 && first_learnt * 2 < first, "{moved:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_dictionary_is_a_file_for_as_long_as_agents_are_started() {
    let names = "request = receive()\n\
        offer = request['params']['dictionary']\n\
        size = len(open(offer['path'], 'rb').read())\n\
        print(offer['path'], offer['id'], size, offer['bytes'], file=open(os.environ['NOTES'], 'a'), flush=True)\n\
        answer(request, {'protocol': 2, 'agent': {'name': 'plain'}})\n\
        time.sleep(1000)";
    let rig = Rig { dictionary: Some(learnt()), ..Rig::python(names).with_notes() };
    let factory = ProcessFactory::new(rig.spec.clone()).unwrap();
    for _ in 0..2 {
        let start_request = StartRequest { dictionary: rig.dictionary.clone(), ..start_request() };
        // An agent that does not choose it continues in plain lines.
        assert_eq!(factory.clone().launch(start_request).await.unwrap().info().compression, None);
    }
    let notes = rig.read_notes();
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[0], notes[1]);
    let words: Vec<&str> = notes[0].split(' ').collect();
    let learnt = learnt();
    assert_eq!((words[1], words[2]), (learnt.id().to_string().as_str(), learnt.bytes().len().to_string().as_str()));
    assert_eq!(words[2], words[3]);
    assert!(fs::exists(words[0]).unwrap());
    drop(factory);
    assert!(!fs::exists(words[0]).unwrap());
}

#[tokio::test(flavor = "current_thread")]
async fn each_start_begins_new_streams() {
    let rig = builtin();
    for _ in 0..2 {
        let mut driver = rig.start().await;
        assert!(run(&mut driver, "[1]").await.unwrap().contains(r#""echo":[1]"#));
        driver.check().await.unwrap();
        stop(driver).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn blocks_that_are_not_compressed_are_a_stream_too() {
    let rig = by_hand(
        "hear(); write(frame(20) + result(2, 'one')); hear(); last = result(3, 'two')\n\
         for at in range(len(last)): write(last[at:at + 1])",
    );
    let mut driver = rig.start().await;
    assert_eq!(run(&mut driver, "1").await.unwrap(), "\"one\"");
    assert_eq!(run(&mut driver, "1").await.unwrap(), "\"two\"");
}

#[tokio::test(flavor = "current_thread")]
async fn frames_may_follow_each_other_as_from_an_agent_that_packs_each_message_alone() {
    let end = "block(1, 0, b' ')[:0] + (1).to_bytes(3, 'little')";
    let rig = by_hand(&format!("for n in (2, 3): hear(); write(frame(20) + result(n, n) + {end})"));
    let mut driver = rig.start().await;
    assert_eq!((run(&mut driver, "1").await.unwrap(), run(&mut driver, "1").await.unwrap()), ("2".into(), "3".into()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_bomb_is_named_and_the_agent_replaced() {
    // A kilobyte that unpacks to 32 MiB.
    let bomb = "hear(); write(frame(20) + repeated(b'x', 131072) * 256)";
    protocol_error(bomb, "packed a line of more than max_line_bytes = 1048576 bytes").await;
    let lines = r"hear(); write(frame(20) + repeated(b'\n', 131072) * 256)";
    protocol_error(lines, "wrote more than 16777216 bytes in one task").await;
    let said = r#"{"jsonrpc":"2.0","method":"later","params":{}}"#;
    let flood = format!("hear(); write(frame(20) + (raw(b'{said}') + repeated(b' ', 131072) + raw(b'\\n')) * 200)");
    protocol_error(&flood, "wrote more than 16777216 bytes in one task").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_that_says_nothing_for_ever_is_stopped() {
    let nothing = "\nwhile True: write(raw(b'') * 10000)";
    protocol_error(&format!("hear(); write(frame(20)){nothing}"), "wrote packed bytes that are more than").await;
    let mut idle = by_hand(&format!("write(frame(20)){nothing}")).start().await;
    let error = timeout(SOON, idle.died()).await.unwrap();
    assert_replaced(&error, ErrorKind::AgentProtocol, "its 65536 bytes though it had no task can take");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_stream_is_named() {
    for (lines, says) in [
        ("hear(); echo({'id': 2, 'params': {'input': 1}})", "broke its packed output"),
        ("hear(); write(frame(20) + raw(b'{') + block(3, 9, b'x'))", "broke its packed output"),
        ("hear(); write(frame(21) + result(2, 1))", "too much memory"),
        ("hear(); write(frame(30) + result(2, 1))", "too much memory"),
    ] {
        protocol_error(lines, says).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_that_is_cut_is_the_end_of_the_agent() {
    let mut driver = by_hand("hear(); write((frame(20) + result(2, 1))[:-9]); sys.exit(3)").start().await;
    assert_replaced(&run_and_fail(&mut driver, "1").await, ErrorKind::AgentLost, "ended with exit status: 3");
}

#[tokio::test(flavor = "current_thread")]
async fn only_what_is_offered_can_be_chosen() {
    let answer = |more: &str| {
        Rig::python(&format!(
            "request = receive()\n\
             answer(request, {{'protocol': 2, 'agent': {{'name': 'x'}}, {more}}})\n\
             time.sleep(1000)"
        ))
    };
    let choose = |compression: &str| answer(&format!("'compression': '{compression}'"));
    let error = |rig: Rig| async move { rig.launch().await.err().expect("it is not started").to_string() };
    let other = error(choose("brotli")).await;
    assert!(
        other.contains("answered `initialize` with a result that is not valid: unknown variant `brotli`"),
        "{other}"
    );
    let not_offered = error(choose("zstd").with(|spec| spec.compression_window_bytes = 0)).await;
    assert!(not_offered.contains("wants compression `zstd`, which was not offered"), "{not_offered}");
    let learnt = || Some(learnt());
    for (more, dictionary, says) in [
        (
            "'compression': 'zstd', 'dictionary': '00000000'",
            learnt(),
            "wants dictionary `00000000`, which was not offered",
        ),
        ("'compression': 'zstd', 'dictionary': '00000000'", None, "wants dictionary `00000000`, which was not offered"),
        ("'dictionary': request['params']['dictionary']['id']", learnt(), "wants a dictionary without `compression`"),
    ] {
        let refused = error(Rig { dictionary, ..answer(more) }).await;
        assert!(refused.contains(says), "{refused}");
    }
}
