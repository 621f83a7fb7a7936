"""Agents and clients of Forerunner: pools of warm agents that are ready before the queue spikes.

Write an agent with `Agent`, and submit tasks with `Client` or `AsyncClient`. The package needs the standard library
alone.
"""

from typing import TYPE_CHECKING, Any

from .agent import Agent, TestRun
from .errors import (
    AgentError,
    ApiError,
    DependencyError,
    ForerunnerError,
    InvalidInput,
    TaskCancelled,
    TaskFailed,
    TooLarge,
    Unreachable,
)
from .question import TaskWaits
from .task import Task
from .views import BatchResult, ContextInfo, Event, LogLine, Request, Schedule, TaskError, TaskInfo, TaskLog

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .client import Client

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentError",
    "ApiError",
    "AsyncClient",
    "BatchResult",
    "Client",
    "ContextInfo",
    "DependencyError",
    "Event",
    "ForerunnerError",
    "InvalidInput",
    "LogLine",
    "Request",
    "Schedule",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskInfo",
    "TaskLog",
    "TaskWaits",
    "TestRun",
    "TooLarge",
    "Unreachable",
]


def __getattr__(name: str) -> Any:
    # An agent needs no HTTP: without it, Python starts in half the time.
    if name == "Client":
        from .client import Client

        return Client
    if name == "AsyncClient":
        from .async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'forerunner' has no attribute {name!r}")
