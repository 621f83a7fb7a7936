"""What the node answers. `docs/http-api.md` explains each member; an answer leaves out what is not known."""

from typing import Any, Dict, List, Optional, TypedDict


class TaskError(TypedDict, total=False):
    """Why an attempt has no output: `kind` for programs, `message` for people."""

    kind: str
    message: str


class Request(TypedDict, total=False):
    """What an agent asked: with `answer` once a person gave one."""

    id: str
    kind: str
    prompt: str
    options: List[Dict[str, str]]
    schema: Any
    details: Any
    asked_at: str
    expires_at: str
    answer: Any
    answered_at: str


class LogLine(TypedDict, total=False):
    """A line of the log of a task. `source` is `agent` or `stderr`."""

    at: str
    attempt: int
    source: str
    level: str
    text: str


class TaskLog(TypedDict):
    """The last lines of the log of a task, and how many older ones were dropped."""

    lines: List[LogLine]
    dropped: int


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
    requests: List[Request]
    usage: Dict[str, int]
    traceparent: str


class BatchResult(TypedDict, total=False):
    """What became of one task of a batch: `task`, or the `problem` for which the node rejected it."""

    status: int
    task: TaskInfo
    replayed: bool
    problem: Dict[str, Any]


class Event(TypedDict, total=False):
    """An event of a task. `event` is `state`, `progress` (with `text`), `output` (with `chunk`), `asked` (with `request`)
    or `log` (with `line`)."""

    seq: int
    at: str
    event: str
    text: str
    chunk: str
    request: Request
    line: LogLine
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
