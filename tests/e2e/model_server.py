"""A model on loopback: its answer is what the user said so far. It fails while the file `down` exists.

usage: model_server.py DIRECTORY; it writes its port to DIRECTORY/port
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY = sys.argv[1]


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "application/json", json.dumps({"data": []}).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != "Bearer s3cret":
            self.answer(401, "application/json", b'{"error":{"message":"wrong key"}}')
        elif os.path.exists(os.path.join(DIRECTORY, "down")):
            self.answer(503, "application/json", b'{"error":{"message":"overloaded"}}')
        else:
            said = [message["content"] for message in body["messages"] if message["role"] == "user"]
            pieces = [self.choice({"content": text + ";"}, None) for text in said] + [self.choice({}, "stop")]
            usage = {"choices": [], "usage": {"prompt_tokens": len(said), "completion_tokens": 1}}
            events = "".join(f"data: {json.dumps(piece)}\n\n" for piece in [*pieces, usage]) + "data: [DONE]\n\n"
            self.answer(200, "text/event-stream", events.encode())

    @staticmethod
    def choice(delta, finish_reason):
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
with open(os.path.join(DIRECTORY, "port.new"), "w") as file:
    file.write(str(server.server_address[1]))
os.rename(os.path.join(DIRECTORY, "port.new"), os.path.join(DIRECTORY, "port"))
server.serve_forever()
