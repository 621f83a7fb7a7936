"""What the node answers. `docs/http-api.md` explains each member; an answer leaves out what is not known."""

from typing import Any, Dict, List, Optional, TypedDict


class TaskError(TypedDict, total=False):
    """Why an attempt has no output: `kind` for programs, `message` for people."""

    kind: str
    message: str


class TaskInfo(TypedDict, total=False):
    """A task."""

    id: str
    pool: str
    state: str
    input: Any
    output: Any
    error: TaskError
    context: str
    context_cost: Dict[str, Any]
    priority: int
    attempt: int
    max_attempts: int
    crashes: int
    labels: Dict[str, str]
    idempotency_key: str
    parent: str
    depth: int
    submitted_at: str
    run_at: str
    deadline: str
    timeout: str
    started_at: str
    finished_at: str
    wait_s: float
    service_s: float
    agent: str


class BatchResult(TypedDict, total=False):
    """What became of one task of a batch: `task`, or the `problem` for which the node rejected it."""

    status: int
    task: TaskInfo
    replayed: bool
    problem: Dict[str, Any]


class Event(TypedDict, total=False):
    """An event of a task. `event` is `state`, `progress` (with `text`) or `output` (with `chunk`)."""

    seq: int
    at: str
    event: str
    text: str
    chunk: str
    state: str
    attempt: int
    error: Optional[TaskError]


class ContextInfo(TypedDict, total=False):
    """A stored context: its size, and the agents in which it is resident."""

    id: str
    pool: str
    version: int
    size_bytes: int
    items: int
    stored_bytes: int
    shared_bytes: int
    frames: int
    updated_at: str
    warm_on: List[str]


class Schedule(TypedDict, total=False):
    """A schedule, and its next and last runs."""

    name: str
    pool: str
    cron: str
    time_zone: str
    every: str
    at: str
    input: Any
    context: str
    priority: int
    labels: Dict[str, str]
    overlap: str
    catch_up: str
    jitter: str
    enabled: bool
    created_at: str
    next_runs: List[str]
    last_run: Optional[Dict[str, Any]]
    active: List[str]
    fired: int
    skipped: int
    problem: str
