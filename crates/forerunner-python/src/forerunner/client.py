"""The client: submits, follows and steers tasks, contexts and schedules."""

import json
import time
import uuid
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Union, cast
from urllib.parse import quote, urlencode

from .errors import ApiError, TaskFailed, Unreachable
from .sse import read_events
from .transport import Transport
from .views import BatchResult, ContextInfo, Event, Schedule, TaskInfo, TaskLog

#: States in which a task has ended.
ENDED = ("succeeded", "failed", "cancelled", "expired", "dead", "damaged")

#: Seconds for which one request waits for a result; proxies end silent answers after 60.
_WAIT_S = 30

#: Tasks in one batch.
_BATCH = 1_000

#: Bytes of one batch; the node accepts 8 MiB.
_BATCH_BYTES = 4 << 20


class Client:
    """A client of one node. Any number of threads may use it.

    `server` is the address of the node; without it, `FORERUNNER_SERVER` or http://127.0.0.1:7077. The bearer token is
    `token`, the content of `token_file`, `FORERUNNER_TOKEN`, or the content of `FORERUNNER_TOKEN_FILE`. `cacert`, or
    `FORERUNNER_CACERT`, is a file with authorities that sign the node's certificate, beside those of the system. A call that is safe to repeat is repeated while the
    node is full or away, for `retry_for_s` at most.
    """

    def __init__(
        self,
        server: Optional[str] = None,
        *,
        token: Optional[str] = None,
        token_file: Optional[str] = None,
        cacert: Optional[str] = None,
        timeout_s: float = 30.0,
        retry_for_s: float = 60.0,
    ) -> None:
        self._http = Transport(server, token, token_file, cacert, timeout_s, retry_for_s)

    def submit(
        self,
        pool: str,
        input: Any,
        *,
        idempotency_key: Optional[str] = None,
        traceparent: Optional[str] = None,
        **fields: Any,
    ) -> TaskInfo:
        """Submits a task: `client.submit("coder", {"text": "hi"}, context="repo-42")`.

        `fields` are those of a submission: `context`, `priority`, `run_at`, `deadline`, `timeout`, `max_attempts`,
        `labels`, `parent`. A key makes the submission safe to repeat; without one the client makes one. `traceparent`
        is the trace that the task belongs to (W3C Trace Context).
        """
        key = idempotency_key or str(uuid.uuid4())
        path = f"/v1/pools/{_part(pool)}/tasks"
        body = {"input": input, **fields}
        headers = {"Idempotency-Key": key, **({"traceparent": traceparent} if traceparent else {})}
        return cast(TaskInfo, self._http.call("POST", path, body, headers, repeat=True).body)

    def submit_many(self, pool: str, tasks: Iterable[Mapping[str, Any]]) -> List[BatchResult]:
        """Submits any number of tasks, in order. A task has the fields of a submission, such as `{"input": 1}`.

        The answer has one entry for each task. An entry with a `problem` is a task that the node rejected. Tasks that
        find no room are submitted again, until none of them was accepted for `retry_for_s`.
        """
        results: List[BatchResult] = []
        for batch in _batches(tasks):
            results += self._submit_batch(pool, batch)
        return results

    def run(self, pool: str, input: Any, *, wait_s: Optional[float] = None, **fields: Any) -> Any:
        """Submits a task, waits for its end, and returns its output. See `submit` and `result`."""
        return self.result(self.submit(pool, input, **fields)["id"], wait_s=wait_s)

    def result(self, task: Union[str, TaskInfo], *, wait_s: Optional[float] = None) -> Any:
        """Waits for the end of a task and returns its output.

        Raises `TaskFailed` if the task ends without one, and `TimeoutError` if it has not ended after `wait_s`.
        """
        ended = self.wait(task, wait_s=wait_s)
        if ended.get("state") == "succeeded":
            return ended.get("output")
        if ended.get("state") in ENDED:
            raise TaskFailed(ended)
        raise TimeoutError(f"task {ended.get('id')} is {ended.get('state')} after {wait_s} s; it goes on")

    def wait(self, task: Union[str, TaskInfo], *, wait_s: Optional[float] = None) -> TaskInfo:
        """Waits for the end of a task, `wait_s` at most, and returns the task, whatever its state."""
        ends = None if wait_s is None else time.monotonic() + wait_s
        while True:
            left = _WAIT_S if ends is None else max(0, min(_WAIT_S, int(ends - time.monotonic() + 0.999)))
            headers = {"Prefer": f"wait={left}"}
            answer = self._http.call("GET", _task(task), headers=headers, repeat=True, extra_wait_s=left)
            info = cast(TaskInfo, answer.body)
            if info.get("state") in ENDED or (ends is not None and time.monotonic() >= ends):
                return info

    def get(self, task: Union[str, TaskInfo]) -> TaskInfo:
        """Returns a task in its current state."""
        return cast(TaskInfo, self._http.call("GET", _task(task), repeat=True).body)

    def events(self, task: Union[str, TaskInfo]) -> Iterator[Event]:
        """Yields the events of a task from its first one to its end. A broken connection is made again."""
        seen: Optional[str] = None
        ends = time.monotonic() + self._http.retry_for_s
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": seen} if seen else {})}
            failure: Exception = Unreachable(f"{self._http.server} ends the events of a task before the task ends")
            try:
                with self._http.open(f"{_task(task)}/events", headers) as stream:
                    for seen, data in read_events(stream):
                        event = cast(Event, json.loads(data))
                        yield event
                        if event.get("event") == "state" and event.get("state") in ENDED:
                            return
                        ends = time.monotonic() + self._http.retry_for_s
            except ApiError as error:
                if error.status not in (429, 502, 503, 504):
                    raise
                failure = error
            except (OSError, ValueError) as error:
                failure = Unreachable(f"{self._http.server} does not answer: {error}")
            if time.monotonic() >= ends:
                raise failure
            time.sleep(0.5)

    def cancel(self, task: Union[str, TaskInfo]) -> TaskInfo:
        """Cancels a task. One that runs stays `running` until its agent has stopped."""
        return cast(TaskInfo, self._http.call("POST", f"{_task(task)}:cancel", repeat=True).body)

    def answer(self, task: Union[str, TaskInfo], answer: Any, *, request: Optional[str] = None) -> TaskInfo:
        """Answers what the agent of a task asked. The same answer once more changes nothing.

        `answer` is the id or the kind of an option, `allow` or `reject`; any JSON value if there are no options.
        `request` is the id of the question; without it, the one that is open.
        """
        if request is None:
            asked = self.get(task).get("requests", [])
            if not asked or "answer" in asked[-1]:
                raise ValueError(f"the agent of {_task(task)} asks nothing now; read the task")
            request = asked[-1]["id"]
        body = {"request": request, "answer": answer}
        return cast(TaskInfo, self._http.call("POST", f"{_task(task)}:answer", body, repeat=True).body)

    def logs(self, task: Union[str, TaskInfo]) -> TaskLog:
        """Returns the last lines of the log of a task, also while it runs."""
        return cast(TaskLog, self._http.call("GET", f"{_task(task)}/logs", repeat=True).body)

    def retry(self, task: Union[str, TaskInfo]) -> TaskInfo:
        """Returns a task that ended without success to its queue."""
        return cast(TaskInfo, self._http.call("POST", f"{_task(task)}:retry", repeat=False).body)

    def tasks(self, **filters: Any) -> Iterator[TaskInfo]:
        """Yields tasks, newest first: `client.tasks(pool="coder", state=["failed", "dead"], label="team:blue")`."""
        return cast(Iterator[TaskInfo], self._pages("/v1/tasks", "tasks", filters))

    def contexts(self, **filters: Any) -> Iterator[ContextInfo]:
        """Yields contexts by pool and id; `pool` selects one pool."""
        return cast(Iterator[ContextInfo], self._pages("/v1/contexts", "contexts", filters))

    def context(self, pool: str, context: str) -> ContextInfo:
        """Returns a context."""
        return cast(ContextInfo, self._http.call("GET", _context(pool, context), repeat=True).body)

    def delete_context(self, pool: str, context: str) -> None:
        """Deletes a context, for good. Its tasks must have ended."""
        self._http.call("DELETE", _context(pool, context), repeat=True)

    def schedules(self) -> Iterator[Schedule]:
        """Yields the schedules, by name."""
        return cast(Iterator[Schedule], self._pages("/v1/schedules", "schedules", {}))

    def schedule(self, name: str) -> Schedule:
        """Returns a schedule."""
        return cast(Schedule, self._http.call("GET", _schedule(name), repeat=True).body)

    def create_schedule(self, name: str, pool: str, input: Any, **fields: Any) -> Schedule:
        """Makes a schedule. One of `cron`, `every` and `at` is required; `docs/schedules.md` has the other fields."""
        body = {"name": name, "pool": pool, "input": input, **fields}
        return cast(Schedule, self._http.call("POST", "/v1/schedules", body, repeat=False).body)

    def update_schedule(self, name: str, **fields: Any) -> Schedule:
        """Changes fields of a schedule; `None` sets one back to its default."""
        return cast(Schedule, self._http.call("PATCH", _schedule(name), fields, repeat=True).body)

    def pause_schedule(self, name: str) -> Schedule:
        """Pauses a schedule. What falls into the pause does not come later."""
        return cast(Schedule, self._http.call("POST", f"{_schedule(name)}:pause", repeat=True).body)

    def resume_schedule(self, name: str) -> Schedule:
        """Resumes a schedule."""
        return cast(Schedule, self._http.call("POST", f"{_schedule(name)}:resume", repeat=True).body)

    def run_schedule(self, name: str) -> TaskInfo:
        """Submits a task of a schedule now; its times stay as they are."""
        return cast(TaskInfo, self._http.call("POST", f"{_schedule(name)}:run", repeat=False).body)

    def delete_schedule(self, name: str) -> None:
        """Deletes a schedule. Tasks that it submitted go on."""
        self._http.call("DELETE", _schedule(name), repeat=True)

    def _submit_batch(self, pool: str, batch: List[Dict[str, Any]]) -> List[BatchResult]:
        results: List[BatchResult] = [{} for _ in batch]
        path = f"/v1/pools/{_part(pool)}/tasks:batch"
        open_places = list(range(len(batch)))
        ends = time.monotonic() + self._http.retry_for_s
        while open_places:
            body = {"tasks": [batch[place] for place in open_places]}
            entries = self._http.call("POST", path, body, repeat=True, extra_wait_s=30.0).body["results"]
            full, asked_s = [], 0.2
            for place, entry in zip(open_places, entries):
                results[place] = entry
                if entry["status"] in (429, 503):
                    full.append(place)
                    asked_s = max(asked_s, float(entry["problem"].get("retry_after_s") or 0))
            if len(full) < len(open_places):
                ends = time.monotonic() + self._http.retry_for_s
            open_places = full
            if open_places:
                if time.monotonic() + asked_s > ends:
                    break
                time.sleep(asked_s)
        return results

    def _pages(self, path: str, member: str, filters: Mapping[str, Any]) -> Iterator[Any]:
        query = dict(filters)
        while True:
            text = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
            page = self._http.call("GET", f"{path}?{text}" if text else path, repeat=True).body
            yield from page[member]
            if not page.get("next"):
                return
            query["cursor"] = page["next"]


def _batches(tasks: Iterable[Mapping[str, Any]]) -> Iterator[List[Dict[str, Any]]]:
    """Splits tasks by number and bytes, and gives each a key, so that a batch is safe to repeat."""
    batch: List[Dict[str, Any]] = []
    size = 0
    for task in tasks:
        with_key = {**task, "idempotency_key": task.get("idempotency_key") or str(uuid.uuid4())}
        length = len(json.dumps(with_key))
        if batch and (len(batch) == _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(with_key)
        size += length
    if batch:
        yield batch


def _part(text: str) -> str:
    return quote(text, safe="")


def _task(task: Union[str, TaskInfo]) -> str:
    return f"/v1/tasks/{_part(task if isinstance(task, str) else task['id'])}"


def _context(pool: str, context: str) -> str:
    return f"/v1/contexts/{_part(context)}?pool={_part(pool)}"


def _schedule(name: str) -> str:
    return f"/v1/schedules/{_part(name)}"
