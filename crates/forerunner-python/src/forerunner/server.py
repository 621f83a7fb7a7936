"""Serves the requests of a node: the other side of `docs/agent-protocol.md`."""

import asyncio
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .context import Contexts, MissingContext, difference, encode
from .errors import AgentError, TooLarge
from .pipe import Limits, Lines, Pipe
from .question import TaskWaits
from .run import Run, is_async
from .task import Task

if TYPE_CHECKING:
    from .agent import Agent

#: The newest version of the protocol that this package speaks. It speaks all older ones.
PROTOCOL = 3

#: The version from which on agents ask, log and report what they used.
_REPORTS_SINCE = 3

#: Bytes of a task's output that stay free for its answer, if that is an error.
_ANSWER_ROOM = 16_384

#: Characters of an error's message; clients see the first 1,000.
_MESSAGE_CHARACTERS = 1_000

#: Characters of a line of the log; the node cuts it after 1 KiB.
_LINE_CHARACTERS = 1_024


class Server:
    """Runs an agent on a pipe until the node stops it."""

    def __init__(self, agent: "Agent", pipe: Lines) -> None:
        self._agent, self._pipe = agent, pipe
        self._contexts = Contexts()
        self._run: Optional[Run] = None
        self._protocol = PROTOCOL

    async def serve(self) -> None:
        """Answers requests in their order. `task/cancel` alone is answered at once, by the thread that reads."""
        loop = asyncio.get_running_loop()
        requests: "asyncio.Queue[Optional[Dict[str, Any]]]" = asyncio.Queue()

        def read() -> None:
            try:
                for request in self._pipe.requests():
                    if request["method"] == "task/cancel":
                        self._cancel(request)
                        continue
                    if request["method"] == "task/run":
                        # Before it is in the queue, so that a cancellation finds it at any time.
                        self._run = Run(request["params"]["task"], loop)
                    loop.call_soon_threadsafe(requests.put_nowait, request)
                    if request["method"] == "shutdown":
                        return
            except Exception:
                traceback.print_exc()
            # A task that runs goes on: the node ends agents that it has left itself.
            loop.call_soon_threadsafe(requests.put_nowait, None)

        threading.Thread(target=read, name="forerunner-requests", daemon=True).start()
        while True:
            request = await requests.get()
            if request is None:
                return
            await self._answer(request)
            if request["method"] == "shutdown":
                return

    async def _answer(self, request: Dict[str, Any]) -> None:
        method, params = request["method"], request.get("params", {})
        if method == "task/run":
            await self._run_task(request["id"], params)
            return
        try:
            result: Dict[str, Any] = {}
            if method == "initialize":
                result = await self._initialize(params)
            elif method == "context/load":
                self._contexts.load(params)
            elif method == "context/drop":
                self._contexts.drop(params["id"])
            elif method not in ("ping", "shutdown"):
                self._fail(request["id"], -32601, f"unknown method {method}", {})
                return
            self._pipe.send({"id": request["id"], "result": result})
        except MissingContext as error:
            self._fail(request["id"], -32003, str(error), {})

    async def _initialize(self, params: Dict[str, Any]) -> Dict[str, Any]:
        self._pipe.limits = Limits(params.get("limits"))
        self._protocol = min(PROTOCOL, params["protocol"])
        await self._agent._warm()
        return {
            "protocol": self._protocol,
            "agent": {"name": self._agent.name, "version": self._agent.version},
            "capabilities": {"contexts": self._agent.contexts, "streaming": True},
        }

    async def _run_task(self, request: int, params: Dict[str, Any]) -> None:
        run = self._run
        assert run is not None, "the thread that reads made it"
        self._pipe.begin_task()
        task: Optional[Task] = None
        try:
            items = self._contexts.begin(params.get("context"))
            function = self._agent._function()
            task = Task(params, items, self._notify, is_async(function), run.cancelled)
            output = await run.call(function, task)
            self._succeed(request, params.get("context"), items, output, task)
        except MissingContext as error:
            self._fail(request, -32003, str(error), {})
        except asyncio.CancelledError:
            self._fail(request, -32001, "the task stopped because it was cancelled", self._usage(task))
        except TaskWaits as waits:
            self._ask(request, waits.question, self._usage(task))
        except AgentError as error:
            self._fail(request, error.code, str(error), {**error.data(), **self._usage(task)})
        except Exception as error:
            traceback.print_exc()
            data = {"retryable": True, **self._usage(task)}
            self._fail(request, -32603, f"{type(error).__name__}: {error}", data)
        finally:
            # The next task may have begun: the node sends it as soon as it has the answer.
            if self._run is run:
                self._run = None

    def _succeed(
        self, request: int, context: Optional[Dict[str, Any]], old: List[str], output: Any, task: Task
    ) -> None:
        try:
            result: Dict[str, Any] = {"output": output, **self._usage(task)}
            new = old if context is None else [encode(item) for item in task.context]
            change = difference(old, new)
            if change is not None:
                result["context"] = change
            answer = {"id": request, "result": result}
            encode(answer)
        except (TypeError, ValueError, RecursionError) as error:
            raise AgentError(f"the output or the context is no JSON: {error}", retryable=False) from error
        room = self._pipe.room()
        if not self._pipe.send(answer, room):
            raise TooLarge(f"the answer is longer than {room} bytes; return less, or raise max_line_bytes of the pool")
        if context is not None:
            self._contexts.commit(context, new)

    def _usage(self, task: Optional[Task]) -> Dict[str, Any]:
        has_some = task is not None and task._usage and self._protocol >= _REPORTS_SINCE
        return {"usage": task._usage} if task is not None and has_some else {}

    def _ask(self, request: int, question: Dict[str, Any], usage: Dict[str, Any]) -> None:
        """Asks, and ends the turn: the task waits, and comes again with the answer."""
        if self._protocol < _REPORTS_SINCE:
            message = "the agent asks a person, which this node does not support; update the node"
            self._fail(request, -32000, message, {"retryable": False})
            return
        run = self._run
        assert run is not None, "the task runs until it is answered"
        try:
            encode(question)
        except (TypeError, ValueError, RecursionError) as error:
            self._fail(request, -32000, f"the question is no JSON: {error}", {"retryable": False})
            return
        asks = {"method": "task/ask", "params": {"task": run.task_id, **question}}
        if not self._pipe.send(asks, self._pipe.room() - _ANSWER_ROOM):
            self._fail(request, -32002, "the question is too long; ask less, or raise max_line_bytes of the pool", usage)
            return
        self._pipe.send({"id": request, "result": {"output": None, **usage}})

    def _notify(self, method: str, params: Dict[str, Any]) -> None:
        if method == "log" and self._protocol < _REPORTS_SINCE:
            print(params["text"], file=sys.stderr, flush=True)
            return
        if self._run is None or self._run.task_id != params["task"]:
            return  # the task has ended, and the node would ignore it
        if not self._pipe.send({"method": method, "params": params}, self._pipe.room() - _ANSWER_ROOM):
            raise TooLarge(f"the task has sent its {self._pipe.limits.output_bytes} bytes of output; send less, or raise "
                           "max_output_bytes of the pool")

    def log(self, line: str) -> None:
        """Writes a line to the log of the task that runs, if one does and there is room."""
        run = self._run
        if run is not None and self._protocol >= _REPORTS_SINCE:
            params = {"task": run.task_id, "text": line[:_LINE_CHARACTERS]}
            self._pipe.send({"method": "log", "params": params}, self._pipe.room() - _ANSWER_ROOM)

    def _cancel(self, request: Dict[str, Any]) -> None:
        run = self._run
        if run is not None and run.task_id == request["params"]["task"]:
            run.cancel()
        self._pipe.send({"id": request["id"], "result": {}})

    def _fail(self, request: int, code: int, message: str, data: Dict[str, Any]) -> None:
        error = {"code": code, "message": message[:_MESSAGE_CHARACTERS], "data": data}
        self._pipe.send({"id": request, "error": error})


def run_forever(agent: "Agent", pipe: Pipe) -> None:
    """Serves until the node stops the agent. A failed warm-up ends the process, and the node shows its traceback."""
    asyncio.run(Server(agent, pipe).serve())
    sys.stderr.flush()
