"""A scripted agent that speaks ACP. FAKE lists how it differs from a plain one; prompts tell it what to do.

Like real agents it has its sessions in files below HOME, reads them when a session is loaded, and trusts its memory after.
"""
import json, os, re, signal, subprocess, sys, threading, time

PLAY = set(os.environ.get("FAKE", "").split())
VERSION = 2 if "v2" in PLAY else 1
ROOT = os.path.join(os.environ["HOME"], ".fake", "sessions")
SESSIONS, RUNNING, PENDING, LOCK = {}, {}, {}, threading.Lock()
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
    SESSIONS[session].append([who, words])
    if "no-files" not in PLAY:
        os.makedirs(ROOT, exist_ok=True)
        with open(path(session), "a") as file:
            file.write(json.dumps({who: words}) + "\n")


def ask(session, title, kind="execute", paths=()):
    number = "p%d" % (len(PENDING) + 1)
    PENDING[number] = threading.Event()
    call = {"toolCallId": "t", "title": title, "kind": kind, "locations": [{"path": p} for p in paths], "rawInput": {"do": title}}
    options = [("always", "allow_always"), ("yes", "allow_once"), ("no", "reject_once")]
    options = [{"optionId": id, "name": id, "kind": kind} for id, kind in options]
    params = {"sessionId": session, "options": options}
    params.update({"title": title, "subject": {"type": "tool_call", "toolCall": call}} if VERSION == 2 else {"toolCall": call})
    write({"id": number, "method": "session/request_permission", "params": params})
    PENDING[number].wait()
    outcome = PENDING[number].outcome
    return outcome.get("optionId", "cancelled")


def play(session, prompt, stop):
    """Returns the answer and the reason of the end."""
    words = re.findall(r"@@ *([a-z-]+):? *([^\n]*)", prompt)
    verb, rest = words[-1] if words else ("say", prompt)
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
        number = "w%d" % len(PENDING)
        PENDING[number] = threading.Event()
        target = target if target.startswith("/") else os.path.join(CWD[session], target)
        write({"id": number, "method": "fs/write_text_file", "params": {"sessionId": session, "path": target, "content": content}})
        PENDING[number].wait()
        return "wrote " + json.dumps(PENDING[number].outcome), "end_turn"
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
    answer, reason = play(session, prompt, stop)
    if answer:
        text(session, answer)
        remember(session, "agent", answer)
    RUNNING.pop(session, None)
    if reason == "rpc-error":
        write({"id": id, "error": {"code": -32603, "message": "the model does not answer"}})
    elif VERSION == 2:
        update(session, "state_update", state="idle", stopReason=reason)
    else:
        write({"id": id, "result": {"stopReason": reason}})


def new_session(params):
    session = "s-%d-%d" % (os.getpid(), len(SESSIONS) + 1)
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
    if method == "session/cancel":
        if session in RUNNING:
            RUNNING[session].set()
        continue
    error, result = None, {}
    if method == "initialize":
        result = capabilities()
    elif method == "session/new":
        result = new_session(params)
    elif method in ("session/load", "session/resume"):
        result = load(params, method == "session/load")
        error = {"code": -32002, "message": "no such session"} if result is None else None
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
