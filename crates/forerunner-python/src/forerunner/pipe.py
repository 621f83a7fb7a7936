"""The pipe to the node: lines of JSON-RPC on the standard input and output of the process."""

import json
import os
import sys
import threading
from typing import Any, BinaryIO, Dict, Iterator, Optional, Protocol, Tuple

from .context import encode


def claim_standard_streams() -> Tuple[int, BinaryIO]:
    """Returns the streams of the node, and takes their numbers away from everything else in the process.

    What `print`, a C library or a child process writes to standard output goes to standard error, the log. What reads
    standard input gets its end.
    """
    source = os.dup(0)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.flush()
    # The log shall have a line when it is printed, not when the agent ends.
    sys.stdout = sys.stderr
    return source, sink


class Limits:
    """What the node accepts of this agent, in bytes."""

    def __init__(self, limits: Optional[Dict[str, Any]] = None) -> None:
        given = limits or {}
        self.line_bytes: int = given.get("max_line_bytes", 1 << 20)
        self.output_bytes: int = given.get("max_output_bytes", 16 << 20)


class Lines(Protocol):
    """What a server reads requests from, and writes messages to."""

    limits: Limits

    def requests(self) -> Iterator[Dict[str, Any]]:
        """Yields the requests of the node until its end."""

    def begin_task(self) -> None:
        """Begins to count the bytes of another task."""

    def room(self) -> int:
        """Returns how long a line may be, for the node to accept it."""

    def send(self, message: Dict[str, Any], room: Optional[int] = None) -> bool:
        """Sends a message, unless it is longer than `room`. Returns whether it was sent."""


class Pipe:
    """Reads requests, and writes whole lines from any thread."""

    def __init__(self, source: int, sink: BinaryIO) -> None:
        self.limits = Limits()
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._task_bytes = 0

    def requests(self) -> Iterator[Dict[str, Any]]:
        """Yields the requests of the node until its end of the pipe closes."""
        # Without a buffer of Python's, whose lock would stop the interpreter from ending while a thread reads.
        rest = b""
        while True:
            piece = os.read(self._source, 65_536)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(bytes.strip, lines):
                yield json.loads(line)

    def begin_task(self) -> None:
        """Begins to count the bytes of another task."""
        self._task_bytes = 0

    def room(self) -> int:
        """Returns how long a line may be, for the node to accept it."""
        return min(self.limits.line_bytes, self.limits.output_bytes - self._task_bytes)

    def send(self, message: Dict[str, Any], room: Optional[int] = None) -> bool:
        """Writes a message as a line, unless it is longer than `room`. Returns whether it was written."""
        line = encode({"jsonrpc": "2.0", **message}).encode() + b"\n"
        if room is not None and len(line) > room:
            return False
        with self._lock:
            self._task_bytes += len(line)
            rest = memoryview(line)
            while rest:
                rest = rest[self._sink.write(rest) or 0 :]
        return True
