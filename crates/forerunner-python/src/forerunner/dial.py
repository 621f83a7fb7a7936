"""Dials in to a node: the pipe of an agent that runs elsewhere. It survives breaks of the connection."""

import json
import queue
import random
import sys
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, Iterator, Optional, Tuple
from urllib.parse import quote

from .context import encode
from .pipe import Limits
from .transport import Transport
from .websocket import Refused, WebSocket

#: Seconds for opening a connection, and without a sign of life after which it is dead.
_OPEN_S, _SILENCE_S = 10.0, 30.0

#: The first and the longest delay between two tries to connect.
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 10.0

#: Answers that no later try changes: the address or the key is wrong.
_FINAL_STATUS = (400, 401, 403, 404, 405)


class Dial:
    """One session with a node, over any number of connections.

    Each side numbers its messages, and has them until the other side has confirmed them. So a break loses nothing.
    """

    def __init__(self, transport: Transport, pool: str) -> None:
        self.limits = Limits()
        self._http, self._pool = transport, pool
        self._lock = threading.Lock()
        self._socket: Optional[WebSocket] = None
        self._session: Optional[str] = None
        self._unconfirmed: "Deque[Tuple[int, str]]" = deque()
        self._sent = self._received = self._task_bytes = 0
        self._requests: "queue.Queue[Optional[Dict[str, Any]]]" = queue.Queue()
        self._leaves = self._is_over = False
        #: Why the node does not let this agent in.
        self.refused: Optional[Refused] = None

    def requests(self) -> Iterator[Dict[str, Any]]:
        """Yields the requests of the node until it ends the session."""
        threading.Thread(target=self._stay_connected, name="forerunner-dial", daemon=True).start()
        while True:
            request = self._requests.get()
            if request is None:
                return
            yield request
            if request["method"] == "shutdown":
                return

    def begin_task(self) -> None:
        """Begins to count the bytes of another task."""
        self._task_bytes = 0

    def room(self) -> int:
        """Returns how long a line may be, for the node to accept it."""
        return min(self.limits.line_bytes, self.limits.output_bytes - self._task_bytes)

    def send(self, message: Dict[str, Any], room: Optional[int] = None) -> bool:
        """Sends a message, unless it is longer than `room`. Returns whether it was sent, now or after a break."""
        line = encode({"jsonrpc": "2.0", **message})
        size = len(line.encode()) + 1
        if room is not None and size > room:
            return False
        with self._lock:
            self._task_bytes += size
            self._sent += 1
            self._unconfirmed.append((self._sent, line))
            self._try(f"{self._sent} {line}")
        return True

    def leave(self) -> None:
        """Says goodbye: the node gives no more tasks, and ends the session after the one that runs."""
        self._leaves = True
        with self._lock:
            self._try("bye")

    def close(self, wait_s: float = 5.0) -> None:
        """Ends the session once the node has confirmed all messages, or after `wait_s`."""
        ends = time.monotonic() + wait_s
        while self._unconfirmed and not self._is_over and time.monotonic() < ends:
            time.sleep(0.01)
        self._is_over = True
        with self._lock:
            if self._socket is not None:
                self._socket.close()

    def _try(self, text: str) -> None:
        """Sends on the connection of now. What is lost with it is sent again on the next one."""
        if self._socket is not None:
            try:
                self._socket.send(text)
            except OSError:
                self._socket.close()
                self._socket = None

    def _stay_connected(self) -> None:
        tries = 0
        while not self._is_over:
            try:
                socket = self._connect()
                tries = 0
                self._receive(socket)
            except Refused as error:
                if error.status in _FINAL_STATUS:
                    self.refused = error
                    break
                print(f"the node lets this agent wait: {error}", file=sys.stderr, flush=True)
            except (OSError, ValueError) as error:
                if tries == 3:
                    print(f"{self._http.server} cannot be reached, and is tried again: {error}", file=sys.stderr, flush=True)
            if self._is_over or (self._leaves and self._session is None):
                break
            tries += 1
            time.sleep(min(_FIRST_DELAY_S * 2.0 ** (tries - 1), _LONGEST_DELAY_S) * random.uniform(1.0, 1.25))
        self._is_over = True
        self._requests.put(None)

    def _connect(self) -> WebSocket:
        """Opens a connection and resumes the session. Ends it if the node does not know it any more."""
        query = "" if self._session is None else f"?session={self._session}&received={self._received}"
        path = f"/v1/pools/{quote(self._pool, safe='')}/agents:connect{query}"
        url, headers, tls = self._http.address(path)
        socket = WebSocket(url, headers, tls, _OPEN_S, _SILENCE_S)
        kind, _, rest = (socket.receive() or "").partition(" ")
        if kind != "hello":
            raise ConnectionError("the node did not begin with hello")
        hello = json.loads(rest)
        with self._lock:
            if self._session is not None and hello["session"] != self._session:
                # Its task is with another agent by now.
                self._is_over = True
                return socket
            self._session = hello["session"]
            self._confirm(hello["received"])
            self._socket = socket
            for number, line in list(self._unconfirmed):
                self._try(f"{number} {line}")
            if self._leaves:
                self._try("bye")
        return socket

    def _receive(self, socket: WebSocket) -> None:
        try:
            while not self._is_over:
                text = socket.receive()
                if text is None:
                    # The node closes a connection when the session is over, or because it stops.
                    self._is_over = True
                    return
                head, _, rest = text.partition(" ")
                if head == "ack":
                    with self._lock:
                        self._confirm(int(rest))
                    continue
                if int(head) == self._received + 1:
                    self._received += 1
                    self._requests.put(json.loads(rest))
                with self._lock:
                    self._try(f"ack {self._received}")
        finally:
            socket.close()
            with self._lock:
                if self._socket is socket:
                    self._socket = None

    def _confirm(self, number: int) -> None:
        while self._unconfirmed and self._unconfirmed[0][0] <= number:
            self._unconfirmed.popleft()
