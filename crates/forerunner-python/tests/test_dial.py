"""Dialling in, against a server that speaks the other side of it and breaks connections."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import unittest
from pathlib import Path

SOURCES = str(Path(__file__).parent.parent / "src")
AGENT = """
from forerunner import Agent
agent = Agent("t")
@agent.task
def turn(task):
    print("printed")
    return {"echo": task.input}
agent.serve("gpu")
"""


class Peer:
    """One WebSocket of the agent, as the node has it."""

    def __init__(self, listener):
        self.socket, _ = listener.accept()
        self.socket.settimeout(30)
        self.file = self.socket.makefile("rb")
        self.path = self.file.readline().decode().split(" ")[1]
        heads = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            heads[name.lower()] = value.strip()
        key = heads["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.heads = heads
        self.socket.sendall(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    def send(self, text, kind=1):
        data = text.encode()
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
        self.socket.sendall(bytes([0x80 | kind]) + size + data)

    def request(self, number, method, **params):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.send(f"{number} {json.dumps(message)}")

    def receive(self):
        """The next text that is no confirmation."""
        while True:
            first, second = self.file.read(2)
            assert second & 0x80, "a client masks"
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            mask, data = self.file.read(4), self.file.read(size)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)).decode(errors="replace")
            if first & 0x0F == 1 and not text.startswith("ack "):
                return text

    def cut(self):
        self.file.close()
        self.socket.close()


class DialTest(unittest.TestCase):
    def start(self, **environment):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        server = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES, "FORERUNNER_SERVER": server, **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        guard = threading.Timer(60, self.process.kill)
        guard.start()
        self.addCleanup(guard.cancel)
        self.addCleanup(self.listener.close)

    def tearDown(self):
        self.process.kill()
        self.process.communicate()

    def test_a_break_loses_nothing_and_repeats_nothing(self):
        self.start(FORERUNNER_TOKEN="secret")
        first = Peer(self.listener)
        self.assertEqual((first.path, first.heads["authorization"]), ("/v1/pools/gpu/agents:connect", "Bearer secret"))
        first.send('hello {"session":"s1","received":0}')
        first.request(1, "initialize", protocol=3)
        number, _, answer = first.receive().partition(" ")
        self.assertEqual((number, json.loads(answer)["result"]["protocol"]), ("1", 3))
        # It was not confirmed, so it comes again. What is repeated to the agent is not run again.
        first.cut()
        second = Peer(self.listener)
        self.assertEqual(second.path, "/v1/pools/gpu/agents:connect?session=s1&received=1")
        second.send('hello {"session":"s1","received":0}')
        self.assertEqual(second.receive(), f"1 {answer}")
        second.send("ack 1")
        second.request(1, "initialize", protocol=3)
        second.request(2, "task/run", task="t1", attempt=1, input="x" * 300, context=None)
        log, end = second.receive(), second.receive()
        self.assertEqual(json.loads(log.partition(" ")[2])["params"], {"task": "t1", "text": "printed"})
        self.assertEqual(json.loads(end.partition(" ")[2])["result"], {"output": {"echo": "x" * 300}})
        second.send("ack 3")
        # The session ends: the agent dials in anew.
        second.request(3, "shutdown")
        self.assertTrue(second.receive().startswith("4 "))
        second.send("ack 4")
        second.send("", kind=8)
        third = Peer(self.listener)
        self.assertEqual(third.path, "/v1/pools/gpu/agents:connect")
        third.send('hello {"session":"s2","received":0}')
        self.process.terminate()
        self.assertEqual(third.receive(), "bye")
        third.send("", kind=8)
        output, _ = self.process.communicate(timeout=30)
        self.assertEqual((self.process.returncode, output), (0, "printed\n"))
        for peer in (second, third):
            peer.cut()

    def test_an_agent_that_is_not_let_in_says_so_and_ends(self):
        self.start()
        connection, _ = self.listener.accept()
        connection.recv(4_096)
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\nthis call needs a key")
        connection.close()
        _, log = self.process.communicate(timeout=30)
        self.assertEqual(self.process.returncode, 1)
        self.assertIn("does not let this agent serve the pool gpu: the node answers 401: this call needs a key", log)


if __name__ == "__main__":
    unittest.main()
