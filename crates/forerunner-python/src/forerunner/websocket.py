"""A WebSocket client (RFC 6455) of the standard library: text messages over one connection."""

import base64
import hashlib
import os
import socket
import ssl
import struct
import threading
from typing import Dict, Mapping, Optional, Tuple
from urllib.parse import urlsplit

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10

#: The longest head of an answer.
_HEAD_BYTES = 65_536


class Refused(Exception):
    """The server did not open a WebSocket. `status` is that of its answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the node answers {status}: {detail}")
        self.status = status


class WebSocket:
    """One connection. Any thread may send; one thread receives."""

    def __init__(
        self, url: str, headers: Mapping[str, str], tls: Optional[ssl.SSLContext], timeout_s: float, silence_s: float
    ) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if tls else 80)
        self._lock = threading.Lock()
        self._rest = b""
        connection = socket.create_connection((host, port), timeout=timeout_s)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket: socket.socket = tls.wrap_socket(connection, server_hostname=host) if tls else connection
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            self._open(path, f"{host}:{port}", headers)
            # The server sends a ping every few seconds: longer silence means that the connection is dead.
            self._socket.settimeout(silence_s)
        except BaseException:
            connection.close()
            raise

    def send(self, text: str) -> None:
        """Sends a text message."""
        self._send(_TEXT, text.encode())

    def receive(self) -> Optional[str]:
        """Returns the next text message; `None` when the server has closed the connection."""
        parts = []
        while True:
            kind, is_last, data = self._frame()
            if kind == _PING:
                self._send(_PONG, data)
            elif kind == _CLOSE:
                return None
            elif kind != _PONG:
                parts.append(data)
                if is_last:
                    return b"".join(parts).decode()

    def close(self) -> None:
        """Closes the connection at once."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _open(self, path: str, host: str, headers: Mapping[str, str]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines: Dict[str, str] = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _HEAD_BYTES:
            piece = self._socket.recv(4_096)
            if not piece:
                raise ConnectionError("the node closed the connection before it answered")
            answer += piece
        top, _, self._rest = answer.partition(b"\r\n\r\n")
        first, *rest = top.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status != 101:
            raise Refused(status, self._rest.decode(errors="replace")[:500])
        accepted = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()
        known = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        if known.get("sec-websocket-accept") != accepted:
            raise ConnectionError("the answer to the WebSocket handshake is not valid")

    def _send(self, kind: int, data: bytes) -> None:
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | size)
        elif size < 65_536:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        # Masks by one operation on large integers: a loop over bytes would be slow.
        pattern = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
        with self._lock:
            self._socket.sendall(head + mask + masked)

    def _frame(self) -> Tuple[int, bool, bytes]:
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._read(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._read(8))[0]
        if second & 0x80:
            raise ConnectionError("the node masked a frame")
        return first & 0x0F, bool(first & 0x80), self._read(size)

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = self._socket.recv(65_536)
            if not piece:
                raise ConnectionError("the connection ended")
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
