"""Errors that an agent raises to end its task, and errors that a client raises."""

import asyncio
from typing import Any, Dict, Mapping, Optional


class ForerunnerError(Exception):
    """The base of all errors of this package but `TaskCancelled`."""


class AgentError(ForerunnerError):
    """Fails the task. Another attempt follows, unless `retryable` is false."""

    code = -32000

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable

    def data(self) -> Dict[str, Any]:
        """Returns the member `data` of the error, as the protocol has it."""
        return {"retryable": self.retryable}


class DependencyError(AgentError):
    """Fails the attempt because something that the agent depends on failed, such as a model provider.

    The attempt does not count. `retry_after_s` is what the dependency asks for, as in the header `Retry-After`.
    """

    def __init__(self, message: str, *, retry_after_s: Optional[float] = None, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)
        self.retry_after_s = retry_after_s

    def data(self) -> Dict[str, Any]:
        data: Dict[str, Any] = {"retryable": self.retryable, "scope": "dependency"}
        if self.retry_after_s is not None:
            data["retry_after_s"] = self.retry_after_s
        return data


class InvalidInput(AgentError):
    """Fails the task without another attempt: its input does not fit."""

    code = -32602

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class TooLarge(AgentError):
    """Fails the task without another attempt: its output or its context would be too large."""

    code = -32002

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class TaskCancelled(asyncio.CancelledError):
    """The node cancelled the task. A synchronous task function gets it from the calls of its task.

    It is no `Exception`, as `asyncio.CancelledError` is none: `except Exception` does not catch it.
    """


class ApiError(ForerunnerError):
    """The node rejected a call. `kind` is the name of the problem, such as `queue-full`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.kind = str(problem.get("type", "")).rsplit("/", 1)[-1]
        self.detail = str(problem.get("detail") or problem.get("title") or "the answer has no detail")
        super().__init__(f"{status} {self.kind}: {self.detail}" if self.kind else f"{status}: {self.detail}")


class Unreachable(ForerunnerError):
    """No answer came from the node, in the time that the client has for all tries."""


class TaskFailed(ForerunnerError):
    """A task ended without an output. `task` is the task as the node shows it."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self.task = dict(task)
        self.state = str(task.get("state"))
        error = task.get("error") or {}
        self.kind = str(error.get("kind", self.state))
        message = error.get("message") or "it has no error message"
        super().__init__(f"task {task.get('id')} is {self.state}: {self.kind}: {message}")
