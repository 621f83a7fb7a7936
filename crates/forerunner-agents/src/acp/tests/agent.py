"""A scripted agent that speaks ACP. FAKE lists how it differs from a plain one; prompts tell it what to do.

Like real agents it has its sessions in files below HOME, reads them when a session is loaded, and trusts its memory after.
"""
import itertools, json, os, re, signal, subprocess, sys, threading, time

PLAY = set(os.environ.get("FAKE", "").split())
VERSION = 2 if "v2" in PLAY else 1
ROOT = os.path.join(os.environ["HOME"], ".fake", "sessions")
SESSIONS, RUNNING, PENDING, LOCK = {}, {}, {}, threading.Lock()
NUMBERS = itertools.count(1)
if "ignore-term" in PLAY:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in PLAY:
    subprocess.Popen(["sleep", "600"])


def write(message):
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def update(session, kind, **members):
    write({"method": "session/update", "params": {"sessionId": session, "update": {"sessionUpdate": kind, **members}}})


def text(session, words):
    members = {"messageId": "m"} if VERSION == 2 else {}
    update(session, "agent_message_chunk", content={"type": "text", "text": words}, **members)


def path(session):
    return os.path.join(ROOT, session + ".jsonl")


def remember(session, who, words):
    # The session may have been closed meanwhile.
    SESSIONS.setdefault(session, []).append([who, words])
    if "no-files" not in PLAY:
        os.makedirs(ROOT, exist_ok=True)
        with open(path(session), "a") as file:
            file.write(json.dumps({who: words}) + "\n")


def ask(session, title, kind="execute", paths=(), options=(("always", "allow_always"), ("yes", "allow_once"), ("no", "reject_once"))):
    with LOCK:
        number = "p%d" % (len(PENDING) + 1)
        PENDING[number] = threading.Event()
    call = {"toolCallId": "t", "title": title, "kind": kind, "locations": [{"path": p} for p in paths], "rawInput": {"do": title}}
    options = [{"optionId": id, "name": id, "kind": kind} for id, kind in options]
    params = {"sessionId": session, "options": options}
    params.update({"title": title, "subject": {"type": "tool_call", "toolCall": call}} if VERSION == 2 else {"toolCall": call})
    write({"id": number, "method": "session/request_permission", "params": params})
    PENDING[number].wait()
    outcome = PENDING[number].outcome
    return outcome.get("optionId", "cancelled")


def between_turns(session):
    """Hostile between two turns."""
    time.sleep(0.3)
    if "idle-garbage" in PLAY:
        write_raw("Killed")
    if "idle-death" in PLAY:
        os._exit(9)
    if "idle-permission" in PLAY:
        options = [{"optionId": "yes", "name": "yes", "kind": "allow_once"}]
        call = {"toolCallId": "t", "title": "rm", "kind": "execute"}
        write({"id": "idle", "method": "session/request_permission", "params": {"sessionId": session, "toolCall": call, "options": options}})
    if "idle-flood" in PLAY:
        while True:
            text(session, "x" * 100000)
    if "late-updates" in PLAY:
        text(session, "late words")


def write_raw(line):
    with LOCK:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def hostile(session, verb, rest, stop, id):
    """Returns the answer and the reason of the end; nothing if it does not know the verb."""
    if verb == "rpc-error":
        return "", "rpc-error"
    if verb == "unknown-method":
        return "", "unknown-method"
    if verb == "no-reason":
        return "answer", None
    if verb == "new-reason":
        return "answer", "of_tomorrow"
    if verb == "twice":
        write({"id": id, "result": {"stopReason": "end_turn"}})
        return "never", "end_turn"
    if verb == "string-id":
        write({"id": str(id), "result": {"stopReason": "end_turn"}})
        stop.wait(60)
        return "", "cancelled"
    if verb == "null-id":
        write({"id": None, "error": {"code": -32700, "message": "cannot read it"}})
    if verb == "batch":
        write_raw('[{"jsonrpc":"2.0","id":%d,"result":{}}]' % id)
        stop.wait(60)
    if verb == "half-line":
        write_raw('{"jsonrpc":"2.0","method":"session/up')
        stop.wait(60)
    if verb == "zero-bytes":
        write_raw("\0\0\0")
        stop.wait(60)
    if verb == "deep":
        write_raw('{"jsonrpc":"2.0","method":"session/update","params":' + "[" * 200000 + "]" * 200000 + "}")
    if verb == "surrogate":
        write_raw('{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"%s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"\\ud83d "}}}}' % session)
    if verb == "bytes":
        with LOCK:
            sys.stdout.flush()
            sys.stdout.buffer.write(b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"%s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"\xff "}}}}\n' % session.encode())
            sys.stdout.buffer.flush()
    if verb == "odd-updates":
        for odd in (None, 7, "x", [], {}, {"sessionUpdate": None}, {"sessionUpdate": "tool_call"}, {"sessionUpdate": "agent_message_chunk"}):
            write({"method": "session/update", "params": {"sessionId": session, "update": odd}})
        write({"method": "session/update", "params": None})
        write({"method": "qwen/notify", "params": {"a": 1}})
        write({"method": "_auth/status_update"})
    if verb == "commands":
        for _ in range(3):
            update(session, "available_commands_update", availableCommands=[{"name": "c", "description": "x" * 568000}])
    if verb == "many-tools":
        for number in range(3000):
            update(session, "tool_call", toolCallId="t%d" % number, title="x" * 2000, status="completed")
    if verb == "malformed-permission":
        write({"id": "m1", "method": "session/request_permission", "params": {"sessionId": 7}})
        write({"id": "m2", "method": "session/request_permission", "params": {"sessionId": session, "options": "all"}})
    if verb == "no-allow":
        return "choice " + ask(session, rest, options=[("no", "reject_once"), ("never", "reject_always")]), "end_turn"
    if verb == "no-options":
        return "choice " + ask(session, rest, options=[]), "end_turn"
    if verb == "two":
        answers = []
        threads = [threading.Thread(target=lambda n=n: answers.append(ask(session, "%s %d" % (rest, n)))) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return "choices " + " ".join(sorted(answers)), "end_turn"
    if verb == "read":
        return "read " + json.dumps(call("fs/read_text_file", {"sessionId": session, "path": rest})), "end_turn"
    if verb == "foreign-file":
        return "read " + json.dumps(call("fs/read_text_file", {"sessionId": "somebody-else", "path": "/etc/passwd"})), "end_turn"
    if verb == "terminal":
        return "got " + json.dumps(call("terminal/create", {"sessionId": session, "command": "ls -l"})), "end_turn"
    if verb == "close-output":
        os.close(1)
        stop.wait(60)
    if verb == "orphan":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    return None


def call(method, params):
    number = "w%d" % len(PENDING)
    PENDING[number] = threading.Event()
    write({"id": number, "method": method, "params": params})
    PENDING[number].wait()
    return PENDING[number].outcome


def play(session, prompt, stop, id):
    """Returns the answer and the reason of the end."""
    words = re.findall(r"@@ *([a-z-]+):? *([^\n]*)", prompt)
    verb, rest = words[-1] if words else ("say", prompt)
    if found := hostile(session, verb, rest, stop, id):
        return found
    if verb == "recall":
        return "heard: " + " | ".join(words for _, words in SESSIONS[session]), "end_turn"
    if verb == "ask" or verb == "edit":
        choice = ask(session, rest, "edit" if verb == "edit" else "execute", [rest] if verb == "edit" else [])
        if "no-end-until-dismissed" in PLAY:
            stop.wait(0.2)
        return "choice " + choice, "cancelled" if choice == "cancelled" else "end_turn"
    if verb == "slow":
        for number in range(400):
            text(session, "c%d " % number)
            if stop.wait(0.05):
                return "", "end_turn" if "end-turn-on-cancel" in PLAY else "cancelled"
    if verb == "hang":
        (threading.Event() if "ignore-cancel" in PLAY else stop).wait(60)
        return "", "cancelled"
    if verb == "tool":
        update(session, "tool_call", toolCallId="t9", title="long tool", status="in_progress")
        time.sleep(float(rest))
        update(session, "tool_call_update", toolCallId="t9", status="completed")
        return "tool done", "end_turn"
    if verb == "die":
        os._exit(3)
    if verb == "empty":
        return "", "end_turn"
    if verb == "refuse":
        return "no", "refusal"
    if verb == "system-error":
        update(session, "session_info_update", _meta={"codex": {"threadStatus": {"type": "systemError"}}})
        return "sorry", "end_turn"
    if verb == "garbage":
        with LOCK:
            print("Traceback: this is no JSON", flush=True)
        return "never", "end_turn"
    if verb == "flood":
        while True:
            text(session, "x" * 100000)
    if verb == "long-line":
        text(session, "x" * 6000000)
    if verb == "forge":
        write({"id": 7777, "result": {"stopReason": "end_turn"}})
        update("somebody-else", "agent_message_chunk", content={"type": "text", "text": "forged"})
        write({"id": "q1", "method": "terminal/create", "params": {"command": "ls"}})
        write({"id": "q2", "method": "session/request_permission", "params": {"sessionId": "somebody-else", "options": []}})
        return "real", "end_turn"
    if verb == "write":
        target, content = rest.split(" ", 1)
        target = target if target.startswith("/") else os.path.join(CWD[session], target)
        return "wrote " + json.dumps(call("fs/write_text_file", {"sessionId": session, "path": target, "content": content})), "end_turn"
    if verb == "where":
        return CWD[session], "end_turn"
    if verb == "notice":
        text(session, "Warning: Model metadata for `mock` not found\n\n")
    return "pong " + rest, "end_turn"


CWD = {}


def turn(id, session, prompt, stop):
    if VERSION == 2:
        write({"id": id, "result": {"messageId": "u"}})
        update(session, "state_update", state="running")
    remember(session, "user", prompt)
    answer, reason = play(session, prompt, stop, id)
    if answer:
        text(session, answer)
        remember(session, "agent", answer)
    RUNNING.pop(session, None)
    if reason == "rpc-error":
        write({"id": id, "error": {"code": -32603, "message": "the model does not answer"}})
    elif reason == "unknown-method":
        write({"id": id, "error": {"code": -32601, "message": "Method not found"}})
    elif VERSION == 2:
        update(session, "state_update", state="idle", stopReason=reason)
    else:
        write({"id": id, "result": {"stopReason": reason} if reason else None})
    between_turns(session)


def new_session(params):
    session = "s-%d-%d" % (os.getpid(), next(NUMBERS))
    if "same-session" in PLAY:
        session = "s-same"
    if "leading-session" in PLAY:
        session = "../../../etc/%d" % next(NUMBERS)
    SESSIONS[session], CWD[session] = [], params["cwd"]
    return {"sessionId": session}


def load(params, replays):
    session = params["sessionId"]
    if not os.path.exists(path(session)):
        return None
    SESSIONS[session], CWD[session] = [], params["cwd"]
    for line in open(path(session)):
        (who, words), = json.loads(line).items()
        SESSIONS[session].append([who, words])
        if replays:
            text(session, words)
    return {}


def capabilities():
    version = 99 if "version-99" in PLAY else VERSION
    session = {name: {} for name in ("resume", "close") if name in PLAY}
    return {
        "protocolVersion": version,
        "info" if VERSION == 2 else "agentInfo": {"name": "fake", "version": "1"},
        "agentCapabilities": {"loadSession": "no-load" not in PLAY, "sessionCapabilities": session},
    }


if "dies-at-start" in PLAY:
    print("no such model", file=sys.stderr)
    sys.exit(4)
for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method is None:
        if id in PENDING:
            result = message.get("result")
            PENDING[id].outcome = result["outcome"] if result and "outcome" in result else message.get("error") or result
            PENDING[id].set()
        continue
    session = params.get("sessionId")
    if ("silent-" + str(method).rsplit("/")[-1]) in PLAY:
        continue
    if method == "session/cancel":
        if session in RUNNING:
            RUNNING[session].set()
        continue
    error, result = None, {}
    if method == "initialize":
        result = capabilities()
    elif method == "session/new" and "no-auth" in PLAY:
        error = {"code": -32000, "message": "Authentication required"}
    elif method == "session/new" and "no-session" in PLAY:
        result = {}
    elif method == "session/new" and "slow-new" in PLAY:
        answer = {"id": id, "result": new_session(params)}
        threading.Timer(0.5, write, [answer]).start()
        continue
    elif method == "session/new":
        result = new_session(params)
    elif method == "session/set_mode" and "no-modes" in PLAY:
        error = {"code": -32602, "message": "no such mode"}
    elif method in ("session/load", "session/resume"):
        result = load(params, method == "session/load")
        code = -32603 if "load-internal" in PLAY else -32002
        error = {"code": code, "message": "no such session"} if result is None else None
    elif method == "session/close":
        SESSIONS.pop(session, None)
    elif method == "session/prompt":
        if session not in SESSIONS:
            error = {"code": -32602, "message": "unknown session"}
        elif session in RUNNING:
            error = {"code": -32602, "message": "overlapping prompt"}
        else:
            RUNNING[session] = threading.Event()
            words = "".join(block.get("text", "") for block in params["prompt"])
            threading.Thread(target=turn, args=(id, session, words, RUNNING[session]), daemon=True).start()
            continue
    elif method not in ("session/set_mode", "session/set_config_option"):
        error = {"code": -32601, "message": "Method not found"}
    write({"id": id, "error": error} if error else {"id": id, "result": result})
if "ignore-eof" in PLAY:
    time.sleep(600)
os._exit(0)
