"""One run of a task function, which the node or a test may cancel from another thread."""

import asyncio
import inspect
import threading
from typing import Any, Callable, Optional

from .task import Task

TaskFunction = Callable[[Task], Any]


def is_async(function: Callable[..., Any]) -> bool:
    """Returns whether a function, or an object that is called like one, is asynchronous."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))


class Run:
    """Runs a function to its end, and cancels it as its kind of function is cancelled."""

    def __init__(self, task_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.task_id = task_id
        self.cancelled = threading.Event()
        self._loop = loop
        self._future: "Optional[asyncio.Future[Any]]" = None

    def cancel(self) -> None:
        """Cancels the run. Called from any thread, at any time."""
        self.cancelled.set()
        self._loop.call_soon_threadsafe(self._cancel_future)

    async def call(self, function: TaskFunction, task: Task) -> Any:
        """Calls the function. A synchronous one runs in this thread, where the warm-up ran as well."""
        result = function(task)
        if not inspect.isawaitable(result):
            return result
        self._future = asyncio.ensure_future(result)
        if self.cancelled.is_set():
            self._future.cancel()
        return await self._future

    def _cancel_future(self) -> None:
        if self._future is not None:
            self._future.cancel()
