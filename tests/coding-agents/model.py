"""A model on loopback for coding agents. It speaks OpenAI chat completions and responses, Anthropic messages, and Gemini.

usage: model.py DIRECTORY; it writes its port to DIRECTORY/port

The last command in the newest text of the user decides what it answers:

    @@ say WORD         "pong WORD"
    @@ recall           every command that it was sent, the oldest first: what the agent remembers
    @@ slow COUNT       COUNT pieces, four a second
    @@ run COMMAND      a call of the agent's shell, then "done" with the result
    @@ write PATH TEXT  a call of the tool that writes files, then "done"

While the file DIRECTORY/down exists, it answers 503. While DIRECTORY/silent exists, it answers nothing.
"""

import gzip
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY = sys.argv[1]
COMMAND = re.compile(r"@@ *(say|recall|slow|run|write) *([^\n\"<\\]*)")
SHELL = ["^bash$", "^shell$", "exec_command", "run_shell", "shell", "bash", "exec", "command"]
WRITER = ["^write$", "write_file", "write_text_file", "write"]
PATHS = ("path", "filepath", "file_path", "absolute_path")
TEXTS = ("content", "contents", "text", "file_text")


def flat(content):
    """The text of a message: a string, or a list of blocks."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(block if isinstance(block, str) else str(block.get("text") or "") for block in blocks)


def find(tools, patterns):
    return next((tool for pattern in patterns for tool in tools if re.search(pattern, tool["name"], re.I)), None)


def placeholder(schema):
    if schema.get("enum"):
        return schema["enum"][0]
    kinds = {"string": "x", "boolean": False, "number": 1, "integer": 1, "array": [], "object": {}}
    return kinds.get(str(schema.get("type", "string")).lower(), "x")


def arguments(tool, verb, rest):
    """The arguments of a call, by the names that agents give to their parameters."""
    schema = tool["schema"] or {}
    properties, found = schema.get("properties") or {}, {}
    path, _, text = rest.partition(" ")
    for name, kind in properties.items():
        lower = name.lower()
        if verb == "run" and lower in ("command", "cmd"):
            found[name] = ["bash", "-lc", rest] if kind.get("type") == "array" else rest
        elif verb == "run" and lower == "sandbox_permissions":
            # Codex asks nothing of a person for what its sandbox allows.
            found[name] = "require_escalated"
        elif verb == "run" and lower == "justification":
            found[name] = "the test wants it"
        elif verb == "write" and lower in PATHS:
            found[name] = path
        elif verb == "write" and lower in TEXTS:
            found[name] = text
        elif name in (schema.get("required") or []):
            found[name] = placeholder(kind)
    return found


def decide(said, tools, result):
    """Returns the pieces of an answer and the time between them, or a call of a tool."""
    commands = [COMMAND.findall(text) for text in said]
    heard = [command for found in commands for command in found]
    last = commands[-1] if commands else []
    verb, rest = last[-1] if last else ("say", "nothing")
    rest = rest.strip()
    if result is not None:
        return ["done ", result[:200]], 0, None
    if verb == "recall":
        return ["heard: ", " | ".join(f"{verb} {rest.strip()}" for verb, rest in heard)], 0, None
    if verb == "slow":
        return [f"c{number} " for number in range(int(rest or 20))], 0.25, None
    if verb in ("run", "write"):
        tool = find(tools, SHELL if verb == "run" else WRITER)
        if tool:
            return [], 0, {"tool": tool, "name": tool["name"], "arguments": arguments(tool, verb, rest)}
        return ["no tool for ", verb], 0, None
    return ["pong ", rest], 0, None


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.whole({})

    def do_GET(self):
        model = {"id": "mock-model", "object": "model", "created": 1, "owned_by": "test"}
        self.whole({"object": "list", "data": [model], "models": []})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        body = json.loads(raw or b"{}")
        while os.path.exists(os.path.join(DIRECTORY, "silent")):
            time.sleep(0.2)
        if os.path.exists(os.path.join(DIRECTORY, "down")):
            return self.whole({"error": {"message": "overloaded", "type": "server_error"}}, 503)
        wires = [
            ("/chat/completions", self.chat),
            ("/responses", self.answers),
            ("ount_tokens", lambda body: self.whole({"input_tokens": 10})),
            ("ountTokens", lambda body: self.whole({"totalTokens": 10})),
            ("/messages", self.messages),
            ("enerateContent", self.gemini),
        ]
        wire = next((wire for part, wire in wires if part in self.path), None)
        try:
            wire(body) if wire else self.whole({"error": {"message": "no such path"}}, 404)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The agent was cancelled.

    def whole(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, value, name=None):
        head = f"event: {name}\n" if name else ""
        data = value if isinstance(value, str) else json.dumps(value)
        self.wfile.write(f"{head}data: {data}\n\n".encode())
        self.wfile.flush()

    def chat(self, body):
        messages = body.get("messages") or []
        said = [flat(message.get("content")) for message in messages if message.get("role") == "user"]
        last = messages[-1] if messages else {}
        result = flat(last.get("content")) if last.get("role") == "tool" else None
        functions = [tool["function"] for tool in body.get("tools") or [] if "function" in tool]
        tools = [{"name": function["name"], "schema": function.get("parameters")} for function in functions]
        pieces, gap, call = decide(said, tools, result)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        base = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": "mock-model"}
        made = call and {
            "id": f"call_{time.time_ns()}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        end = "tool_calls" if call else "stop"
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(pieces) or None, **({"tool_calls": [made]} if made else {})}
            choice = {"index": 0, "message": message, "finish_reason": end}
            return self.whole({**base, "object": "chat.completion", "choices": [choice], "usage": usage})

        def chunk(delta, finish_reason=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
            self.event({**base, "object": "chat.completion.chunk", "choices": [choice]})

        self.begin()
        chunk({"role": "assistant", "content": ""})
        for piece in pieces:
            chunk({"content": piece})
            time.sleep(gap)
        if made:
            chunk({"tool_calls": [{"index": 0, **made}]})
        chunk({}, end)
        self.event({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.event("[DONE]")

    def answers(self, body):
        entries = body.get("input") or []
        if isinstance(entries, str):
            entries = [{"role": "user", "content": entries}]
        said = [flat(entry.get("content")) for entry in entries if entry.get("role") == "user"]
        last, result = entries[-1] if entries else {}, None
        if str(last.get("type", "")).endswith("_output"):
            output = last.get("output")
            result = flat(output) if isinstance(output, (str, list)) else json.dumps(output)
        tools = [
            {"name": tool.get("name") or tool.get("type"), "schema": tool.get("parameters")}
            for tool in body.get("tools") or []
        ]
        pieces, gap, call = decide(said, tools, result)
        mark = str(time.time_ns())
        if call:
            item = {"type": "function_call", "id": f"fc_{mark}", "call_id": f"call_{mark}", "name": call["name"]}
            item.update(arguments=json.dumps(call["arguments"]), status="completed")
        else:
            text = {"type": "output_text", "text": "".join(pieces), "annotations": []}
            item = {"type": "message", "id": f"msg_{mark}", "role": "assistant", "content": [text], "status": "completed"}
        usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5}
        usage.update(output_tokens_details={"reasoning_tokens": 0}, total_tokens=15)

        def response(status, output):
            answer = {"id": f"resp_{mark}", "object": "response", "created_at": int(time.time()), "status": status}
            ended = usage if status == "completed" else None
            return {**answer, "model": "mock-model", "output": output, "usage": ended, "error": None}

        if not body.get("stream"):
            return self.whole(response("completed", [item]))
        numbers = iter(range(1, 10_000))

        def event(kind, **members):
            self.event({"type": kind, "sequence_number": next(numbers), **members}, kind)

        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        self.begin()
        event("response.created", response=response("in_progress", []))
        opened = {**item, "status": "in_progress", **({} if call else {"content": []})}
        event("response.output_item.added", output_index=0, item=opened)
        if not call:
            empty = {"type": "output_text", "text": "", "annotations": []}
            event("response.content_part.added", **place, part=empty)
        for piece in pieces:
            event("response.output_text.delta", **place, delta=piece)
            time.sleep(gap)
        if not call:
            event("response.output_text.done", **place, text="".join(pieces))
        event("response.output_item.done", output_index=0, item=item)
        event("response.completed", response=response("completed", [item]))

    def messages(self, body):
        messages = body.get("messages") or []
        said, result = [], None
        for message in messages:
            if message.get("role") != "user":
                continue
            blocks = message["content"] if isinstance(message.get("content"), list) else []
            results = [block for block in blocks if block.get("type") == "tool_result"]
            if not results:
                said.append(flat(message.get("content")))
            result = flat(results[0].get("content")) if results else None
        tools = [{"name": tool.get("name", ""), "schema": tool.get("input_schema")} for tool in body.get("tools") or []]
        pieces, gap, call = decide(said, tools, result)
        if call:
            block = {"type": "tool_use", "id": f"toolu_{time.time_ns()}", "name": call["name"], "input": call["arguments"]}
        else:
            block = {"type": "text", "text": "".join(pieces)}
        stop = "tool_use" if call else "end_turn"
        usage = {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        message = {"id": f"msg_{time.time_ns()}", "type": "message", "role": "assistant", "model": "mock-model"}
        message.update(content=[block], stop_reason=stop, stop_sequence=None, usage=usage)
        if not body.get("stream"):
            return self.whole(message)

        def event(kind, **members):
            self.event({"type": kind, **members}, kind)

        self.begin()
        event("message_start", message={**message, "content": [], "stop_reason": None})
        event("content_block_start", index=0, content_block={**block, **({"input": {}} if call else {"text": ""})})
        if call:
            text = json.dumps(call["arguments"])
            event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": text})
        for piece in pieces:
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            time.sleep(gap)
        event("content_block_stop", index=0)
        event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 5})
        event("message_stop")

    def gemini(self, body):
        said, result = [], None
        for content in body.get("contents") or []:
            if content.get("role") == "model":
                continue
            results = [part["functionResponse"] for part in content.get("parts", []) if "functionResponse" in part]
            if not results:
                said.append(flat(content.get("parts", [])))
            result = json.dumps(results[0].get("response")) if results else None
        functions = [one for tool in body.get("tools") or [] for one in tool.get("functionDeclarations", [])]
        tools = [{"name": one["name"], "schema": one.get("parametersJsonSchema") or one.get("parameters")} for one in functions]
        pieces, gap, call = decide(said, tools, result)
        wanted = body.get("generationConfig") or {}
        schema = wanted.get("responseJsonSchema") or wanted.get("responseSchema")
        if schema:
            # A question of the agent's own, such as which model is to answer.
            members = {name: placeholder(kind) for name, kind in (schema.get("properties") or {}).items()}
            pieces, gap, call = [json.dumps(members)], 0, None

        def chunk(parts, finish=None):
            candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
            usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
            ended = {"finishReason": finish} if finish else {}
            return {"candidates": [{**candidate, **ended}], "usageMetadata": usage, "modelVersion": "mock-model"}

        made = [{"functionCall": {"name": call["name"], "args": call["arguments"]}}] if call else []
        if "streamGenerateContent" not in self.path:
            return self.whole(chunk(made or [{"text": "".join(pieces)}], "STOP"))
        self.begin()
        for piece in pieces:
            self.event(chunk([{"text": piece}]))
            time.sleep(gap)
        self.event(chunk(made or [{"text": ""}], "STOP"))


ThreadingHTTPServer.daemon_threads = True
server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
with open(os.path.join(DIRECTORY, "port.new"), "w") as file:
    file.write(str(server.server_address[1]))
os.rename(os.path.join(DIRECTORY, "port.new"), os.path.join(DIRECTORY, "port"))
server.serve_forever()
