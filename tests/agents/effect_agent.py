"""An agent that writes down each run, with one write each: `started TASK ATTEMPT PID` when it begins, and
`effect TASK ATTEMPT PID` before it answers.

Its input may have `service_s`, the seconds that the run takes in between, and `kill: true`, for a run that kills the
agent instead.
"""
import json
import os
import signal
import sys
import time

EFFECTS = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(step, params):
    os.write(EFFECTS, f"{step} {params['task']} {params['attempt']} {os.getpid()}\n".encode())


def run(params):
    text = params["input"] if isinstance(params["input"], dict) else {}
    note("started", params)
    time.sleep(text.get("service_s", 0))
    if text.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    note("effect", params)
    return {"output": {"echo": params["input"], "attempt": params["attempt"], "pid": os.getpid()}}


def handle(method, params):
    if method == "initialize":
        return {"protocol": 1, "agent": {"name": "effect", "version": "1"}, "capabilities": {}}
    return run(params) if method == "task/run" else {}


for line in sys.stdin:
    request = json.loads(line)
    result = handle(request["method"], request["params"])
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n")
    sys.stdout.flush()
    if request["method"] == "shutdown":
        break
