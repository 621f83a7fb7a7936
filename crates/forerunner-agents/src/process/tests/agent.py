# Put in front of each test's own lines: the polite half of an agent.
import json, os, signal, sys, threading, time


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request, result):
    send({"id": request["id"], "result": result})


def refuse(request, code, message, **data):
    send({"id": request["id"], "error": {"code": code, "message": message, "data": data}})


def notify(method, **params):
    send({"method": method, "params": params})


def receive():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def edited(items, steps):
    """The items that an edit leads to."""
    new = []
    for step in steps:
        new += items[step["copy"][0] : sum(step["copy"])] if "copy" in step else step["insert"]
    return new


def hello(contexts=4, protocol=1):
    request = receive()
    assert request["method"] == "initialize", request
    capabilities = {"contexts": contexts, "streaming": True}
    answer(request, {"protocol": protocol, "agent": {"name": "test"}, "capabilities": capabilities})
    return request["params"]


def serve(run, other=lambda request: answer(request, {})):
    """Hands tasks to `run` and everything else to `other`."""
    while True:
        request = receive()
        if request["method"] == "shutdown":
            answer(request, {})
            return
        (run if request["method"] == "task/run" else other)(request)


def echo(request):
    answer(request, {"output": request["params"]["input"]})
