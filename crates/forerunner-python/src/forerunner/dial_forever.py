"""Serves a pool from anywhere: dials in, again and again, until the process is asked to end."""

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Optional, TextIO, cast

from .dial import Dial
from .server import Server
from .transport import Transport

if TYPE_CHECKING:
    from .agent import Agent


class _Tee:
    """Writes to a stream, and to the log of the task that runs."""

    def __init__(self, stream: TextIO, served: "_Served") -> None:
        self._stream, self._served, self._line = stream, served, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._served.log(line)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Served:
    """The session of now, and whether the agent is to leave."""

    def __init__(self) -> None:
        self.leaves = threading.Event()
        self.dial: Optional[Dial] = None
        self.server: Optional[Server] = None

    def log(self, line: str) -> None:
        if self.server is not None and line.strip():
            self.server.log(line)

    def leave(self, *_: Any) -> None:
        self.leaves.set()
        dial = self.dial
        if dial is not None:
            # The thread that the signal interrupted may have the lock of the connection.
            threading.Thread(target=dial.leave, daemon=True).start()


def dial_forever(agent: "Agent", transport: Transport, pool: str) -> None:
    """Serves until SIGTERM: the task that runs ends first. Raises `SystemExit` if the node never lets this agent in."""
    served = _Served()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, served.leave)
        # What other threads print belongs to no task in particular.
        sys.stdout = cast(TextIO, _Tee(sys.stdout, served))
    asyncio.run(_serve(agent, transport, pool, served))


async def _serve(agent: "Agent", transport: Transport, pool: str, served: _Served) -> None:
    # One loop for all sessions, since what the warm-up made may belong to its loop.
    while not served.leaves.is_set():
        served.dial = dial = Dial(transport, pool)
        served.server = Server(agent, dial)
        await served.server.serve()
        await asyncio.get_running_loop().run_in_executor(None, dial.close)
        if dial.refused is not None:
            raise SystemExit(f"{transport.server} does not let this agent serve the pool {pool}: {dial.refused}")
