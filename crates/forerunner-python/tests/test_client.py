"""The clients against a server that answers as a node does."""

import asyncio
import json
import os
import ssl
import subprocess
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

from forerunner import ApiError, AsyncClient, Client, TaskFailed, Unreachable

FULL = {"type": "/problems/queue-full", "title": "full", "status": 429, "detail": "try later", "retry_after_s": 0.01}


class FakeNode:
    """Answers each request with the next of its answers, and notes what came."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        node = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                node.requests.append((self.command, self.path, dict(self.headers), body))
                status, content = node.answers.pop(0)
                if status is None:
                    return  # closes the connection without an answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()

    def client(self, **options):
        return Client(self.address, retry_for_s=5, **options)


def sse(*events):
    lines = [f"id: {event['seq']}\nevent: {event['event']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return (": heartbeat\n\n" + "".join(lines)).encode()


DONE = {"id": "t1", "state": "succeeded", "output": 42}
END = {"seq": 3, "event": "state", "state": "succeeded"}


class ClientTest(unittest.TestCase):
    def test_a_submission_is_repeated_with_its_key_until_the_queue_has_room(self):
        with FakeNode((None, b""), (429, FULL), (503, b"<html>"), (202, {"id": "t1", "state": "queued"})) as node:
            self.assertEqual(node.client(token="secret").submit("my pool", {"n": 1}, context="c")["id"], "t1")
        self.assertEqual(len({headers["Idempotency-Key"] for _, _, headers, _ in node.requests}), 1)
        method, path, headers, body = node.requests[-1]
        self.assertEqual((method, path, body), ("POST", "/v1/pools/my%20pool/tasks", {"input": {"n": 1}, "context": "c"}))
        self.assertEqual(headers["Authorization"], "Bearer secret")

    def test_a_call_that_is_not_safe_to_repeat_is_sent_once_unless_it_was_rejected(self):
        with FakeNode((429, FULL), (503, {"type": "/problems/store-unavailable"})) as node:
            with self.assertRaises(ApiError) as caught:
                node.client().run_schedule("nightly")
        self.assertEqual((caught.exception.status, caught.exception.kind), (503, "store-unavailable"))
        self.assertEqual(len(node.requests), 2)

    def test_other_problems_are_raised_at_once(self):
        problem = {"type": "/problems/no-pool", "title": "none", "detail": "there is no pool `x`"}
        with FakeNode((404, problem)) as node:
            with self.assertRaisesRegex(ApiError, "404 no-pool: there is no pool `x`"):
                node.client().submit("x", 1)

    def test_a_result_is_waited_for_and_a_failure_is_an_error(self):
        dead = {"id": "t1", "state": "dead", "error": {"kind": "agent_error", "message": "no"}}
        with FakeNode((202, {"id": "t1"}), (200, {"id": "t1", "state": "waiting"}), (200, DONE), (200, dead),
                      (200, {"id": "t1", "state": "running"})) as node:
            client = node.client()
            self.assertEqual(client.run("p", 1), 42)
            with self.assertRaisesRegex(TaskFailed, "t1 is dead: agent_error: no"):
                client.result("t1")
            with self.assertRaises(TimeoutError):
                client.result("t1", wait_s=0)
        self.assertEqual(node.requests[1][2]["Prefer"], "wait=30")

    def test_a_batch_is_completed_when_the_queue_has_room(self):
        full = {"status": 429, "problem": FULL}
        bad = {"status": 400, "problem": {"type": "/problems/unknown-field"}}
        accepted = [{"status": 202, "task": {"id": name}} for name in ("a", "c")]
        first = {"results": [accepted[0], bad, full]}
        with FakeNode((200, first), (200, {"results": [accepted[1]]})) as node:
            results = node.client().submit_many("p", [{"input": 1}, {"inputt": 2}, {"input": 3}])
        self.assertEqual(results, [accepted[0], bad, accepted[1]])
        keys = [task["idempotency_key"] for task in node.requests[0][3]["tasks"]]
        self.assertEqual(len(set(keys)), 3)
        self.assertEqual(node.requests[1][3]["tasks"], [{"input": 3, "idempotency_key": keys[2]}])

    def test_events_go_on_where_the_connection_broke(self):
        first = {"seq": 1, "event": "output", "chunk": "a"}
        second = {"seq": 2, "event": "output", "chunk": "b"}
        with FakeNode((200, sse(first)), (200, sse(second, END))) as node:
            self.assertEqual(list(node.client().events("t1")), [first, second, END])
        self.assertEqual(node.requests[1][2]["Last-Event-ID"], "1")

    def test_pages_follow_their_cursor(self):
        with FakeNode((200, {"tasks": [1], "next": "n"}), (200, {"tasks": [2]})) as node:
            self.assertEqual(list(node.client().tasks(state=["dead", "failed"], pool=None)), [1, 2])
        self.assertEqual([path for _, path, _, _ in node.requests],
                         ["/v1/tasks?state=dead&state=failed", "/v1/tasks?state=dead&state=failed&cursor=n"])

    def test_a_token_file_is_read_for_each_call(self):
        with FakeNode((200, DONE), (200, DONE)) as node, tempfile.NamedTemporaryFile("w+") as file:
            client = node.client(token_file=file.name)
            for token in ("one", "two"):
                file.seek(0)
                file.write(token + "\n")
                file.flush()
                client.get("t1")
        self.assertEqual([headers["Authorization"] for _, _, headers, _ in node.requests], ["Bearer one", "Bearer two"])

    def test_the_token_may_be_in_a_file_that_the_environment_names(self):
        with FakeNode((200, DONE), (200, DONE)) as node, tempfile.NamedTemporaryFile("w+") as file:
            file.write("from the file\n")
            file.flush()
            with mock.patch.dict(os.environ, {"FORERUNNER_TOKEN_FILE": file.name}):
                node.client().get("t1")
                with mock.patch.dict(os.environ, {"FORERUNNER_TOKEN": "itself"}):
                    node.client().get("t1")
        sent = [headers["Authorization"] for _, _, headers, _ in node.requests]
        self.assertEqual(sent, ["Bearer from the file", "Bearer itself"])

    def test_an_answer_goes_to_the_question_that_is_open(self):
        waits = {"id": "t1", "state": "waiting", "requests": [{"id": "r1", "answer": 1}, {"id": "r2"}]}
        with FakeNode((200, waits), (429, FULL), (202, waits), (202, waits), (200, DONE)) as node:
            client = node.client()
            client.answer("t1", "allow")
            client.answer("t1", {"a": 1}, request="r1")
            with self.assertRaisesRegex(ValueError, "asks nothing"):
                client.answer("t1", "allow")
        bodies = [(path, body) for _, path, _, body in node.requests if body]
        self.assertEqual(bodies[1:], [
            ("/v1/tasks/t1:answer", {"request": "r2", "answer": "allow"}),
            ("/v1/tasks/t1:answer", {"request": "r1", "answer": {"a": 1}}),
        ])

    def test_a_trace_is_passed_on_and_a_log_is_read(self):
        log = {"lines": [{"text": "x"}], "dropped": 2}
        with FakeNode((202, {"id": "t1"}), (200, log)) as node:
            client = node.client()
            client.submit("p", 1, traceparent="00-a-b-01")
            self.assertEqual(client.logs("t1"), log)
        headers = {name.lower(): value for name, value in node.requests[0][2].items()}
        self.assertEqual((headers["traceparent"], node.requests[1][1]), ("00-a-b-01", "/v1/tasks/t1/logs"))

    def test_an_authority_of_ones_own_is_trusted(self):
        with tempfile.TemporaryDirectory() as directory:
            cert, key = f"{directory}/cert.pem", f"{directory}/key.pem"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                check=True, capture_output=True,
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            with FakeNode((200, DONE)) as node:
                node.server.socket = context.wrap_socket(node.server.socket, server_side=True)
                address = node.address.replace("http:", "https:")
                with self.assertRaisesRegex(Unreachable, "certificate"):
                    Client(address, retry_for_s=0).get("t1")
                self.assertEqual(Client(address, cacert=cert).get("t1")["state"], "succeeded")
            with self.assertRaisesRegex(ValueError, "FORERUNNER_CACERT"):
                Client(address, cacert=f"{directory}/none").get("t1")

    def test_a_wrong_address_and_a_node_that_is_away_name_the_remedy(self):
        with self.assertRaisesRegex(ValueError, "http://127.0.0.1:7077"):
            Client("localhost:7077")
        with self.assertRaisesRegex(ValueError, "one of them"):
            Client(token="a", token_file="b")
        with self.assertRaisesRegex(Unreachable, "FORERUNNER_SERVER"):
            Client("http://127.0.0.1:9", retry_for_s=0).get("t1")

    def test_the_asynchronous_client_makes_the_same_calls(self):
        async def calls(address):
            client = AsyncClient(address)
            self.assertEqual(await client.run("p", 1), 42)
            return [event async for event in client.events("t1")]

        with FakeNode((202, {"id": "t1"}), (200, DONE), (200, sse(END))) as node:
            self.assertEqual(asyncio.run(calls(node.address)), [END])

    def test_the_asynchronous_client_has_every_call(self):
        calls = [name for name in vars(Client) if not name.startswith("_")]
        self.assertEqual(calls, [name for name in vars(AsyncClient) if not name.startswith("_")])


if __name__ == "__main__":
    unittest.main()
