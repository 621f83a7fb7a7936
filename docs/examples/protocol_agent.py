#!/usr/bin/env python3
"""A complete agent for Forerunner without the package: how to speak the protocol in any language.

It speaks the protocol of docs/agent-protocol.md: one JSON message a line, requests on standard input, answers on
standard output. Standard error is free for logs.
"""
import json
import sys
import threading
import time

CONTEXTS = {}  # id -> (the version the node last told us, items)
OUTPUT = threading.Lock()  # the task and the main thread both write lines
CANCELLED = threading.Event()
RUNNING = None  # the id of the task in hand


class AgentError(Exception):
    """An error the node understands: a code, a message, and whether trying again may help."""

    def __init__(self, code, message, retryable=False):
        super().__init__(message)
        self.code, self.retryable = code, retryable


def work(task, text, memory):
    """What the agent is for: answers with an output and with what it adds to its memory."""
    words = str(text).split()
    for word in words:
        notify("task/output", task=task, chunk=word + " ")
        if CANCELLED.wait(0.05):
            raise AgentError(-32001, "stopped as asked")
    notify("task/progress", task=task, text=f"echoed {len(words)} words")
    said = {"role": "user", "text": text}
    return {"echo": text, "turn": len(memory) // 2 + 1}, [said, {"role": "agent", "text": text}]


def edited(items, steps):
    """The items that an edit leads to: runs of the old ones, and new ones."""
    new = []
    for step in steps:
        if "copy" in step:
            start, count = step["copy"]
            new += items[start : start + count]
        else:
            new += step["insert"]
    return new


def run(request, params):
    """Does one task on a thread of its own, so that the main thread can hear `task/cancel`."""
    global RUNNING
    context, memory = params["context"], []
    try:
        if context:
            _, memory = CONTEXTS.get(context["id"], (None, []))
            if len(memory) != context.get("items", len(memory)):
                raise AgentError(-32003, f"context {context['id']} has {len(memory)} items here")
            CONTEXTS[context["id"]] = (context["version"], memory)
        output, added = work(params["task"], params["input"], memory)
        # Only now, since a task that fails is to leave the memory as it was.
        memory.extend(added)
        answer = {"result": {"output": output, "context": {"append": added}}}
    except AgentError as error:
        answer = failure(error.code, str(error), error.retryable)
    except Exception as error:  # the agent survives its own mistakes
        answer = failure(-32603, repr(error), True)
    RUNNING = None
    send({"id": request, **answer})


def handle(method, params, request):
    """Answers a request; `None` means that the answer comes later."""
    global RUNNING
    if method == "initialize":
        time.sleep(0)  # load models, log in, open connections: once, before the first task
        about = {"name": "echo", "version": "1"}
        return {"protocol": 3, "agent": about, "capabilities": {"contexts": 64, "streaming": True}}
    if method == "context/load":
        version, items = CONTEXTS.get(params["id"], (None, []))
        if params["base"] is None:
            items = []
        elif params["base"] != version:
            raise AgentError(-32003, f"context {params['id']} is not resident in version {params['base']}")
        items = edited(items, params["edit"]) if "edit" in params else items + params["items"]
        CONTEXTS[params["id"]] = (params["version"], items)
    elif method == "context/drop":
        CONTEXTS.pop(params["id"], None)
    elif method == "task/run":
        RUNNING = params["task"]
        CANCELLED.clear()
        threading.Thread(target=run, args=(request, params)).start()
        return None
    elif method == "task/cancel":
        if params["task"] == RUNNING:
            CANCELLED.set()
    elif method not in ("ping", "shutdown"):
        raise AgentError(-32601, f"unknown method {method}")
    return {}


def failure(code, message, retryable=False):
    return {"error": {"code": code, "message": message, "data": {"retryable": retryable}}}


def notify(method, **params):
    send({"method": method, "params": params})


def send(message):
    with OUTPUT:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = handle(request["method"], request["params"], request["id"])
            if result is not None:
                send({"id": request["id"], "result": result})
        except AgentError as error:
            send({"id": request["id"], **failure(error.code, str(error), error.retryable)})
        if request["method"] == "shutdown":
            break


if __name__ == "__main__":
    main()
