"""The asynchronous client: the calls of `Client`, each in a thread, so that the event loop goes on."""

import asyncio
from typing import Any, AsyncIterator, Callable, Iterable, Iterator, List, Mapping, Optional, TypeVar, Union

from .client import Client
from .views import BatchResult, ContextInfo, Event, Schedule, TaskInfo, TaskLog

T = TypeVar("T")


class AsyncClient:
    """A client of one node for asyncio. Arguments, calls and errors are those of `Client`.

    If a call is cancelled, its thread ends with the answer of the node.
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
        self._client = Client(
            server,
            token=token,
            token_file=token_file,
            cacert=cacert,
            timeout_s=timeout_s,
            retry_for_s=retry_for_s,
        )

    async def submit(self, pool: str, input: Any, **fields: Any) -> TaskInfo:
        return await _call(self._client.submit, pool, input, **fields)

    async def submit_many(self, pool: str, tasks: Iterable[Mapping[str, Any]]) -> List[BatchResult]:
        return await _call(self._client.submit_many, pool, list(tasks))

    async def run(self, pool: str, input: Any, *, wait_s: Optional[float] = None, **fields: Any) -> Any:
        task = await self.submit(pool, input, **fields)
        return await self.result(task["id"], wait_s=wait_s)

    async def result(self, task: Union[str, TaskInfo], *, wait_s: Optional[float] = None) -> Any:
        return await _call(self._client.result, task, wait_s=wait_s)

    async def wait(self, task: Union[str, TaskInfo], *, wait_s: Optional[float] = None) -> TaskInfo:
        return await _call(self._client.wait, task, wait_s=wait_s)

    async def get(self, task: Union[str, TaskInfo]) -> TaskInfo:
        return await _call(self._client.get, task)

    def events(self, task: Union[str, TaskInfo]) -> AsyncIterator[Event]:
        return _iterate(self._client.events(task))

    async def cancel(self, task: Union[str, TaskInfo]) -> TaskInfo:
        return await _call(self._client.cancel, task)

    async def answer(self, task: Union[str, TaskInfo], answer: Any, *, request: Optional[str] = None) -> TaskInfo:
        return await _call(self._client.answer, task, answer, request=request)

    async def logs(self, task: Union[str, TaskInfo]) -> TaskLog:
        return await _call(self._client.logs, task)

    async def retry(self, task: Union[str, TaskInfo]) -> TaskInfo:
        return await _call(self._client.retry, task)

    def tasks(self, **filters: Any) -> AsyncIterator[TaskInfo]:
        return _iterate(self._client.tasks(**filters))

    def contexts(self, **filters: Any) -> AsyncIterator[ContextInfo]:
        return _iterate(self._client.contexts(**filters))

    async def context(self, pool: str, context: str) -> ContextInfo:
        return await _call(self._client.context, pool, context)

    async def delete_context(self, pool: str, context: str) -> None:
        await _call(self._client.delete_context, pool, context)

    def schedules(self) -> AsyncIterator[Schedule]:
        return _iterate(self._client.schedules())

    async def schedule(self, name: str) -> Schedule:
        return await _call(self._client.schedule, name)

    async def create_schedule(self, name: str, pool: str, input: Any, **fields: Any) -> Schedule:
        return await _call(self._client.create_schedule, name, pool, input, **fields)

    async def update_schedule(self, name: str, **fields: Any) -> Schedule:
        return await _call(self._client.update_schedule, name, **fields)

    async def pause_schedule(self, name: str) -> Schedule:
        return await _call(self._client.pause_schedule, name)

    async def resume_schedule(self, name: str) -> Schedule:
        return await _call(self._client.resume_schedule, name)

    async def run_schedule(self, name: str) -> TaskInfo:
        return await _call(self._client.run_schedule, name)

    async def delete_schedule(self, name: str) -> None:
        await _call(self._client.delete_schedule, name)


async def _call(function: Callable[..., T], *args: Any, **fields: Any) -> T:
    return await asyncio.to_thread(function, *args, **fields)


async def _iterate(source: Iterator[T]) -> AsyncIterator[T]:
    """Reads an iterator in a thread. `None` marks its end: `StopIteration` cannot leave a thread of asyncio."""
    while True:
        item = await _call(next, source, None)
        if item is None:
            return
        yield item
