"""A task as the function of an agent gets it."""

import json
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Sized, TypeVar, cast

from .errors import TaskCancelled
from .question import Option, Questions, question_of

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
        #: The trace of the task (W3C Trace Context), if it has one. Pass it on to what the task calls.
        self.traceparent: Optional[str] = params.get("traceparent")
        #: The id of the conversation; `None` for a task without a context.
        self.context_id: Optional[str] = context["id"] if context else None
        #: The items of the conversation, as a list of its own. The node stores what the task changes if it succeeds.
        self.context: List[Any] = [json.loads(item) for item in items]
        self._notify = notify
        self._is_async = is_async
        self._cancelled = cancelled
        self._questions = Questions(params.get("requests", ()))
        self._usage: Dict[str, int] = {}

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

    def log(self, text: str, level: str = "info") -> None:
        """Writes to the log of the task. `level` is `debug`, `info`, `warn` or `error`. So does `print`."""
        self._check_if_sync()
        self._notify("log", {"task": self.id, "text": str(text)[:_CHUNK_CHARACTERS], "level": level})

    def usage(self, **counts: int) -> None:
        """Adds to what the task used: `task.usage(input_tokens=812)`. The task has the sum of all its attempts."""
        for name, count in counts.items():
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"usage {name}={count!r} is not valid; use a whole number from 0 on")
            self._usage[name] = self._usage.get(name, 0) + count

    def ask(
        self,
        prompt: str,
        options: Sequence[Option] = (),
        *,
        kind: str = "question",
        schema: Any = None,
        details: Any = None,
        timeout_s: Optional[float] = None,
        key: Optional[str] = None,
    ) -> Any:
        """Returns the answer of a person: the id of an option, or any JSON value if there are no options.

        The first time it ends the function, and the task waits without an agent. With the answer the function runs anew,
        and this call returns it. So ask before effects. Do not catch `TaskWaits`.
        """
        self._check_if_sync()
        return self._questions.ask(question_of(prompt, options, kind, schema, details, timeout_s), key)

    def confirm(self, prompt: str, *, details: Any = None, timeout_s: Optional[float] = None) -> bool:
        """Asks for a permission, and returns whether a person gave it. See `ask`."""
        options = [
            {"id": "allow", "name": "Allow", "kind": "allow_once"},
            {"id": "reject", "name": "Reject", "kind": "reject_once"},
        ]
        answer = self.ask(prompt, options, kind="permission", details=details, timeout_s=timeout_s)
        return cast(str, answer) == "allow"

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
