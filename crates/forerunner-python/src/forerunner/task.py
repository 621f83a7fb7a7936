"""A task as the function of an agent gets it."""

import json
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Sized, TypeVar

from .errors import TaskCancelled

T = TypeVar("T")

#: Characters of output in one notification: six bytes each at most, once written as JSON, and far below the limit of
#: a line.
_CHUNK_CHARACTERS = 32_768


class Task:
    """One attempt of a task: its input, its context, and the calls that report about it."""

    def __init__(
        self,
        params: Dict[str, Any],
        items: Sequence[str],
        notify: Callable[[str, Dict[str, Any]], None],
        is_async: bool,
        cancelled: threading.Event,
    ) -> None:
        context = params.get("context")
        #: The id of the task. Use it as an idempotency key for effects outside: a task may run again.
        self.id: str = params["task"]
        #: Any JSON value, as it was submitted.
        self.input: Any = params["input"]
        #: Counts from 1. A task may run again after a failure.
        self.attempt: int = params.get("attempt", 1)
        #: The number of tasks above this one.
        self.depth: int = params.get("depth", 0)
        #: The time (RFC 3339) at which the node cancels the task.
        self.deadline: Optional[str] = params.get("deadline")
        #: The id of the conversation; `None` for a task without a context.
        self.context_id: Optional[str] = context["id"] if context else None
        #: The items of the conversation, as a list of its own. The node stores what the task changes if it succeeds.
        self.context: List[Any] = [json.loads(item) for item in items]
        self._notify = notify
        self._is_async = is_async
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the node cancelled the task."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raises `TaskCancelled` if the node cancelled the task.

        For synchronous functions: call it between steps. `output`, `progress` and `sleep` call it by themselves.
        """
        if self.cancelled:
            raise TaskCancelled(f"task {self.id} was cancelled")

    def sleep(self, seconds: float) -> None:
        """Waits in a synchronous function, and raises `TaskCancelled` as soon as the node cancels the task."""
        self._cancelled.wait(seconds)
        self.check()

    def output(self, chunk: str) -> None:
        """Sends a piece of the output to the clients that follow the task. The result has all of it again."""
        self._check_if_sync()
        for start in range(0, len(chunk), _CHUNK_CHARACTERS):
            self._notify("task/output", {"task": self.id, "chunk": chunk[start : start + _CHUNK_CHARACTERS]})

    def progress(self, text: str) -> None:
        """Sends a line for people to the clients that follow the task."""
        self._check_if_sync()
        self._notify("task/progress", {"task": self.id, "text": text[:_CHUNK_CHARACTERS]})

    def track(self, items: Iterable[T], label: str, every: int = 1) -> Iterator[T]:
        """Yields the items, and reports how many are done after each `every` of them."""
        total = len(items) if isinstance(items, Sized) else None
        for done, item in enumerate(items, start=1):
            yield item
            if done % every == 0 or done == total:
                self.progress(f"{label} {done}" if total is None else f"{label} {done}/{total}")

    def remember(self, *items: Any) -> None:
        """Adds items to the end of the context."""
        self.context.extend(items)

    def _check_if_sync(self) -> None:
        # In an asynchronous function asyncio raises the cancellation, at the next `await`.
        if not self._is_async:
            self.check()
