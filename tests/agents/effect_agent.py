"""An agent that writes down each run: `task attempt pid`, appended with one write before it answers.

Its input may have `service_s`, the seconds that the run takes before that.
"""
import json
import os
import sys
import time

EFFECTS = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def run(params):
    text = params["input"]
    time.sleep(text.get("service_s", 0) if isinstance(text, dict) else 0)
    os.write(EFFECTS, f"{params['task']} {params['attempt']} {os.getpid()}\n".encode())
    return {"output": {"echo": text, "attempt": params["attempt"], "pid": os.getpid()}}


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
