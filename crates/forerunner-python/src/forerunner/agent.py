"""An agent: a warm-up, a task function, and how to serve or test them."""

import asyncio
import atexit
import inspect
import json
import os
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, TypeVar

from .context import difference, encode
from .pipe import Pipe, claim_standard_streams
from .question import TaskWaits
from .run import Run, TaskFunction, is_async
from .server import run_forever
from .task import Task

F = TypeVar("F", bound=Callable[..., Any])


class TestRun:
    """What a task did in `Agent.test`."""

    __test__ = False  # pytest would collect the class by its name

    def __init__(self) -> None:
        #: What the function returned.
        self.output: Any = None
        #: The pieces that it sent with `output`.
        self.chunks: List[str] = []
        #: The lines that it sent with `progress`.
        self.progress: List[str] = []
        #: The lines that it sent with `log`.
        self.log: List[str] = []
        #: What it asked and nobody answered, as the protocol has it; `None` if it ended.
        self.asked: Optional[Dict[str, Any]] = None
        #: What it used.
        self.usage: Dict[str, int] = {}
        #: The context after the task. Pass it to the next `test` to continue the conversation.
        self.context: List[Any] = []
        #: The change of the context as the protocol has it; `None` if there is none.
        self.change: Optional[Dict[str, Any]] = None

    def _note(self, method: str, params: Dict[str, Any]) -> None:
        if method == "task/output":
            self.chunks.append(params["chunk"])
        elif method == "log":
            self.log.append(params["text"])
        else:
            self.progress.append(params["text"])


class Agent:
    """An agent of a pool. Its functions are synchronous or asynchronous.

    `contexts` is how many conversations it has in memory at once, at most 1,024.
    """

    def __init__(self, name: str, *, version: str = "1", contexts: int = 64) -> None:
        if not 0 <= contexts <= 1_024:
            raise ValueError(f"contexts={contexts} is not valid; use 0 to 1024")
        self.name, self.version, self.contexts = name, version, contexts
        self._warm_up: Optional[Callable[[], Any]] = None
        self._task: Optional[TaskFunction] = None
        self._is_warm = False
        self._test_loop: Optional[asyncio.AbstractEventLoop] = None

    def warm_up(self, function: F) -> F:
        """Makes a function the warm-up: it runs once, before the first task. The node measures its time."""
        self._warm_up = function
        return function

    def task(self, function: F) -> F:
        """Makes a function the one that runs the tasks. It gets a `Task` and returns the output, any JSON value."""
        self._task = function
        return function

    def serve(
        self,
        pool: Optional[str] = None,
        *,
        server: Optional[str] = None,
        token: Optional[str] = None,
        token_file: Optional[str] = None,
        cacert: Optional[str] = None,
    ) -> None:
        """Serves the node that started this process, until the node stops it.

        With `pool`, or `FORERUNNER_POOL`, it dials in to a node instead, from anywhere, and serves that pool
        (`kind = "remote"`) until SIGTERM. The other arguments are those of `Client`.
        """
        self._function()
        pool = pool or os.environ.get("FORERUNNER_POOL")
        if not pool:
            run_forever(self, Pipe(*claim_standard_streams()))
            return
        # A process that a node started needs no sockets.
        from .dial_forever import dial_forever
        from .transport import Transport

        dial_forever(self, Transport(server, token, token_file, cacert, 30.0, 60.0), pool)

    def test(
        self,
        input: Any,
        context: Sequence[Any] = (),
        *,
        answers: Sequence[Any] = (),
        cancel_after_s: Optional[float] = None,
        attempt: int = 1,
    ) -> TestRun:
        """Runs one task without a node, after the warm-up. The errors of the function are raised as they are.

        `answers` are those to its questions, in their order. The function runs anew after each, as on a node.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._test_loop is None:
                # One loop for all tests, since what the warm-up made may belong to its loop.
                self._test_loop = asyncio.new_event_loop()
                atexit.register(self._test_loop.close)
            test = self.test_async(input, context, answers=answers, cancel_after_s=cancel_after_s, attempt=attempt)
            return self._test_loop.run_until_complete(test)
        raise RuntimeError("an event loop runs in this thread; use `await agent.test_async(...)`")

    async def test_async(
        self,
        input: Any,
        context: Sequence[Any] = (),
        *,
        answers: Sequence[Any] = (),
        cancel_after_s: Optional[float] = None,
        attempt: int = 1,
    ) -> TestRun:
        """Does what `test` does, in an event loop that runs."""
        await self._warm()
        requests: List[Mapping[str, Any]] = []
        left = list(answers)
        while True:
            result = await self._test_once(input, context, requests, cancel_after_s, attempt)
            if result.asked is None or not left:
                return result
            requests.append({"key": result.asked["key"], "answer": left.pop(0)})

    async def _test_once(
        self,
        input: Any,
        context: Sequence[Any],
        requests: Sequence[Mapping[str, Any]],
        cancel_after_s: Optional[float],
        attempt: int,
    ) -> TestRun:
        function, result = self._function(), TestRun()
        items = [encode(item) for item in context]
        run = Run("test", asyncio.get_running_loop())
        params = {
            "task": "test",
            "attempt": attempt,
            "input": input,
            "requests": requests,
            "context": {"id": "test", "version": 0, "items": len(items)},
        }
        task = Task(params, items, result._note, is_async(function), run.cancelled)
        timer = threading.Timer(cancel_after_s, run.cancel) if cancel_after_s is not None else None
        if timer is not None:
            timer.start()
        try:
            result.output = await run.call(function, task)
        except TaskWaits as waits:
            # Nothing of the context is stored.
            result.asked, task.context = waits.question, [json.loads(item) for item in items]
        finally:
            if timer is not None:
                timer.cancel()
        encode(result.output)
        result.context, result.usage = task.context, task._usage
        result.change = difference(items, [encode(item) for item in task.context])
        return result

    async def _warm(self) -> None:
        if self._is_warm or self._warm_up is None:
            return
        result = self._warm_up()
        if inspect.isawaitable(result):
            await result
        self._is_warm = True

    def _function(self) -> TaskFunction:
        if self._task is None:
            raise RuntimeError(f"agent {self.name} has no task function; decorate one with @agent.task")
        return self._task
