"""Agents in a process of their own, driven as a node drives them; and `Agent.test`."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import unittest
from pathlib import Path

from forerunner import Agent, AgentError, DependencyError, InvalidInput, Task, TaskCancelled, TaskWaits, TooLarge

SOURCES = str(Path(__file__).parent.parent / "src")


class Node:
    """Starts an agent from its source, and exchanges lines with it."""

    def __init__(self, source, protocol=3, **limits):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from forerunner import *\nagent = Agent('t')\n" + textwrap.dedent(source)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        self.guard = threading.Timer(30, self.process.kill)
        self.guard.start()
        self.next_id = 0
        self.request("initialize", protocol=protocol, oldest_protocol=1, limits=limits)

    def request(self, method, **params):
        self.next_id += 1
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return self.next_id

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def run(self, input, context=None, task="t1", **more):
        return self.request("task/run", task=task, attempt=1, input=input, context=context, **more)

    def answer(self, id):
        """The answer to a request, and the notifications before it."""
        before = []
        while True:
            message = self.read()
            assert message is not None, self.process.stderr.read()
            if message.get("id") == id:
                return message, before
            before.append(message)

    def close(self):
        self.answer(self.request("shutdown"))
        output, log = self.process.communicate()
        self.guard.cancel()
        assert output == "", output
        assert self.process.returncode == 0, log
        return log


class ServeTest(unittest.TestCase):
    def test_a_conversation_continues_and_a_failed_task_changes_nothing(self):
        node = Node("""
            @agent.task
            def turn(task):
                task.context.append({"n": task.input})
                if task.input == 2:
                    task.context[0]["n"] = "changed"
                    raise AgentError("no", retryable=False)
                if task.input == 4:
                    del task.context[0]
                return [item["n"] for item in task.context]
            agent.serve()
        """)
        first, _ = node.answer(node.run(1, {"id": "c", "version": 0, "items": 0}))
        self.assertEqual(first["result"], {"output": [1], "context": {"append": [{"n": 1}]}})
        failed, _ = node.answer(node.run(2, {"id": "c", "version": 1, "items": 1}))
        self.assertEqual(failed["error"], {"code": -32000, "message": "no", "data": {"retryable": False}})
        third, _ = node.answer(node.run(3, {"id": "c", "version": 1, "items": 1}))
        self.assertEqual(third["result"], {"output": [1, 3], "context": {"append": [{"n": 3}]}})
        cut, _ = node.answer(node.run(4, {"id": "c", "version": 2, "items": 2}))
        self.assertEqual(cut["result"]["context"], {"edit": [{"copy": [1, 1]}, {"insert": [{"n": 4}]}]})
        lost, _ = node.answer(node.run(5, {"id": "c", "version": 9, "items": 7}))
        self.assertEqual(lost["error"]["code"], -32003)
        node.close()

    def test_what_anything_prints_goes_to_the_log(self):
        node = Node("""
            import os, subprocess
            print("before serve")
            @agent.warm_up
            def load():
                print("warming")
            @agent.task
            def turn(task):
                print("printed")
                os.write(1, b"from C\\n")
                subprocess.run(["sh", "-c", "cat; echo from a child"], check=True)
            agent.serve()
        """)
        answer, before = node.answer(node.run(1))
        self.assertEqual((answer["result"], before[1:]), ({"output": None}, []))
        log = node.close()
        for line in ["before serve", "warming", "printed", "from C", "from a child"]:
            self.assertIn(line, log)

    def test_a_cancellation_stops_each_kind_of_function(self):
        functions = {
            "sleeps": "def turn(task):\n    task.output('x')\n    task.sleep(30)",
            "checks": "def turn(task):\n    task.output('x')\n    while True: task.check()",
            "awaits": "async def turn(task):\n    import asyncio\n    task.output('x')\n    await asyncio.sleep(30)",
        }
        for name, function in functions.items():
            with self.subTest(name):
                node = Node(f"@agent.task\n{function}\nagent.serve()")
                run = node.run(1)
                while node.read().get("method") != "task/output":
                    pass
                node.request("task/cancel", task="another")
                cancel = node.request("task/cancel", task="t1")
                answers = {message["id"]: message for message in (node.read(), node.read(), node.read())}
                self.assertEqual(answers[run]["error"]["code"], -32001)
                self.assertEqual(answers[cancel]["result"], {})
                self.assertEqual(node.answer(node.request("ping"))[0]["result"], {})
                node.close()

    def test_errors_have_the_codes_of_the_protocol(self):
        node = Node("""
            @agent.task
            async def turn(task):
                if task.input == "dependency":
                    raise DependencyError("503", retry_after_s=2.5)
                if task.input == "input":
                    raise InvalidInput("no text")
                if task.input == "bug":
                    return {}["nothing"]
                return {"nan": float("nan"), "object": object(), "long": "x" * 9000}[task.input]
            agent.serve()
        """, max_line_bytes=4096)
        expected = {
            "dependency": (-32000, {"retryable": True, "scope": "dependency", "retry_after_s": 2.5}),
            "input": (-32602, {"retryable": False}),
            "bug": (-32603, {"retryable": True}),
            "nan": (-32000, {"retryable": False}),
            "object": (-32000, {"retryable": False}),
            "long": (-32002, {"retryable": False}),
        }
        for input, (code, data) in expected.items():
            with self.subTest(input):
                error = node.answer(node.run(input))[0]["error"]
                self.assertEqual((error["code"], error["data"]), (code, data))
        self.assertEqual(node.answer(node.request("none"))[0]["error"]["code"], -32601)
        self.assertIn("KeyError", node.close())

    ASKS = """
        @agent.task
        async def turn(task):
            task.usage(tokens=2)
            task.usage(tokens=1)
            task.remember("what a turn that waits does not store")
            try:
                branch = task.ask("Which branch?", ["main", {"id": "dev", "name": "Development"}], timeout_s=60)
            except Exception as error:
                return f"caught {error}"
            sure = task.confirm(f"Delete {branch}?", details={"files": 40})
            return [branch, sure, task.traceparent]
        agent.serve()
    """

    def test_a_question_ends_the_turn_and_is_answered_in_a_later_one(self):
        node = Node(self.ASKS)
        context = {"id": "c", "version": 0, "items": 0}
        answered, requests = [], []
        for answer in ("dev", "allow"):
            end, before = node.answer(node.run(1, context, requests=requests))
            self.assertEqual(end["result"], {"output": None, "usage": {"tokens": 3}})
            asked = before[-1]
            self.assertEqual((asked["method"], asked["params"]["task"]), ("task/ask", "t1"))
            answered.append(asked["params"])
            requests = requests + [{"id": "r", "key": asked["params"]["key"], "answer": answer}]
        self.assertEqual([asked["kind"] for asked in answered], ["question", "permission"])
        self.assertEqual(answered[0]["options"], [{"id": "main"}, {"id": "dev", "name": "Development"}])
        self.assertEqual((answered[0]["timeout_s"], answered[1]["details"]), (60, {"files": 40}))
        end, before = node.answer(node.run(1, context, requests=requests, traceparent="00-a-b-01"))
        self.assertEqual((end["result"]["output"], before), (["dev", True, "00-a-b-01"], []))
        node.close()

    def test_a_node_of_an_older_version_gets_no_question_and_no_log(self):
        node = Node(self.ASKS, protocol=2)
        end, before = node.answer(node.run(1))
        self.assertIn("does not support", end["error"]["message"])
        self.assertEqual([message for message in before if "method" in message], [])
        node.close()

    def test_the_log_has_lines_and_usage_is_reported_by_failures_too(self):
        node = Node("""
            @agent.task
            def turn(task):
                task.log("hot", level="warn")
                task.usage(requests=1)
                raise AgentError("no")
            agent.serve()
        """)
        end, before = node.answer(node.run(1))
        self.assertEqual(before[-1]["params"], {"task": "t1", "text": "hot", "level": "warn"})
        self.assertEqual(end["error"]["data"], {"retryable": True, "usage": {"requests": 1}})
        node.close()

    def test_a_question_that_is_no_json_fails_its_task_and_no_other(self):
        node = Node("""
            @agent.task
            def turn(task):
                return task.ask("?", details=object()) if task.input else 7
            agent.serve()
        """)
        end, _ = node.answer(node.run(1))
        self.assertIn("no JSON", end["error"]["message"])
        end, _ = node.answer(node.run(0))
        self.assertEqual(end["result"], {"output": 7})
        node.close()

    def test_a_flood_of_output_fails_its_task_and_no_other(self):
        node = Node("""
            @agent.task
            def turn(task):
                for _ in range(task.input):
                    task.output("x" * 1000)
            agent.serve()
        """, max_output_bytes=100_000)
        flooded, chunks = node.answer(node.run(1_000))
        self.assertEqual(flooded["error"]["code"], -32002)
        self.assertLess(sum(len(json.dumps(chunk)) for chunk in chunks), 100_000)
        self.assertEqual(node.answer(node.run(2, task="t2"))[0]["result"], {"output": None})
        node.close()

    def test_a_failed_warm_up_ends_the_process_with_its_traceback(self):
        node = Node("""
            @agent.warm_up
            async def load():
                raise OSError("no model")
            @agent.task
            def turn(task): ...
            agent.serve()
        """)
        output, log = node.process.communicate()
        node.guard.cancel()
        self.assertEqual((output, node.process.returncode), ("", 1))
        self.assertIn("no model", log)


class TestTest(unittest.TestCase):
    def agent(self):
        agent = Agent("t")
        self.warmed = 0

        @agent.warm_up
        def load():
            self.warmed += 1

        @agent.task
        async def turn(task: Task):
            if task.input == "hang":
                await asyncio.sleep(30)
            for _ in task.track([1, 2], "step"):
                task.output("x")
            task.remember(task.input)
            return len(task.context)

        return agent

    def test_a_task_runs_without_a_node(self):
        agent = self.agent()
        first = agent.test("one")
        second = agent.test("two", first.context)
        self.assertEqual((first.output, second.output, second.context), (1, 2, ["one", "two"]))
        self.assertEqual((second.chunks, second.progress), (["x", "x"], ["step 1/2", "step 2/2"]))
        self.assertEqual((second.change, self.warmed), ({"append": ["two"]}, 1))
        with self.assertRaises(asyncio.CancelledError):
            agent.test("hang", cancel_after_s=0.05)

    def test_questions_are_answered_in_their_order(self):
        agent = Agent("asks")

        @agent.task
        def turn(task: Task):
            task.log("begins")
            task.remember(1)
            names = [task.ask("Another name?") for _ in range(2)]
            return names if task.confirm("Done?") else None

        waits = agent.test(1, answers=["a"])
        assert waits.asked is not None
        self.assertEqual((waits.asked["prompt"], waits.output, waits.change), ("Another name?", None, None))
        ended = agent.test(1, answers=["a", "b", "allow"])
        self.assertEqual((ended.output, ended.asked, ended.log, ended.context), (["a", "b"], None, ["begins"], [1]))
        self.assertIsNone(agent.test(1, answers=["a", "b", "reject"]).output)
        self.assertFalse(issubclass(TaskWaits, Exception))

    def test_usage_is_a_whole_number(self):
        agent = Agent("uses")
        agent.task(lambda task: task.usage(tokens=task.input))
        self.assertEqual(agent.test(5).usage, {"tokens": 5})
        for wrong in (-1, 1.5, "many"):
            with self.assertRaisesRegex(ValueError, "whole number"):
                agent.test(wrong)

    def test_in_a_running_loop_it_is_awaited(self):
        agent = self.agent()
        self.assertEqual(asyncio.run(agent.test_async("one")).output, 1)

        async def wrong():
            agent.test("one")

        with self.assertRaisesRegex(RuntimeError, "test_async"):
            asyncio.run(wrong())

    def test_cancellation_passes_handlers_of_exceptions(self):
        self.assertFalse(issubclass(TaskCancelled, Exception))
        self.assertTrue(all(issubclass(kind, AgentError) for kind in (DependencyError, InvalidInput, TooLarge)))

    def test_an_agent_without_a_task_function_says_so(self):
        with self.assertRaisesRegex(RuntimeError, "@agent.task"):
            Agent("empty").test(1)


if __name__ == "__main__":
    unittest.main()
