"""One call over HTTP: the address, the token, and when a call is repeated."""

import http.client
import json
import os
import random
import ssl
import time
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from .errors import ApiError, Unreachable

DEFAULT_SERVER = "http://127.0.0.1:7077"

#: The first delay between two tries, and the longest one, without a `Retry-After`.
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 10.0

#: Answers after which a later try may succeed. A proxy in front of the node sends 502 and 504.
_RETRY_STATUS = (429, 502, 503, 504)

#: The longest answer of an error that is read; a proxy may send a page.
_ERROR_BYTES = 65_536


class Answer(NamedTuple):
    """The status and the JSON of an answer; `None` for an answer without a body."""

    status: int
    body: Any


class Transport:
    """Sends calls to a node, and repeats those that are safe to repeat."""

    def __init__(
        self,
        server: Optional[str],
        token: Optional[str],
        token_file: Optional[str],
        cacert: Optional[str],
        timeout_s: float,
        retry_for_s: float,
    ) -> None:
        address = server or os.environ.get("FORERUNNER_SERVER") or DEFAULT_SERVER
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"server {address!r} is not valid; use an address such as {DEFAULT_SERVER}")
        if token and token_file:
            raise ValueError("token and token_file are both given; give one of them")
        self.server = address.rstrip("/")
        self.timeout_s, self.retry_for_s = timeout_s, retry_for_s
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._token, self._token_file = token, token_file
        self._cacert = cacert or os.environ.get("FORERUNNER_CACERT")
        self._tls: Optional[ssl.SSLContext] = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        *,
        repeat: bool,
        extra_wait_s: float = 0.0,
    ) -> Answer:
        """Sends a call. With `repeat`, tries again after failures that may pass, for `retry_for_s` at most."""
        ends = time.monotonic() + self.retry_for_s
        tries = 0
        while True:
            tries += 1
            asked_s = None
            try:
                return self._once(method, path, body, headers or {}, self.timeout_s + extra_wait_s)
            except ApiError as error:
                failure: Exception = error
                asked_s = error.problem.get("retry_after_s")
                is_transient = error.status in _RETRY_STATUS or error.kind == "outcome-unknown"
                # 429 rejects a call before it takes effect, so every call may be repeated.
                if not is_transient or not (repeat or error.status == 429):
                    raise
            except (OSError, http.client.HTTPException) as error:
                failure = Unreachable(
                    f"{self.server} does not answer: {error or type(error).__name__} ({tries} tries); start the node, or "
                    "correct the address (server, FORERUNNER_SERVER)"
                )
                if not repeat:
                    raise failure from error
            delay_s = _delay_s(tries, asked_s)
            if time.monotonic() + delay_s > ends:
                raise failure
            time.sleep(delay_s)

    def open(self, path: str, headers: Mapping[str, str]) -> "http.client.HTTPResponse":
        """Sends a GET, and returns the answer to be read. An answer that is an error raises `ApiError`."""
        answer = self._send("GET", path, None, headers, self.timeout_s)
        if answer.status >= 400:
            raise _error(answer)
        return answer

    def _once(self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float) -> Answer:
        answer = self._send(method, path, body, headers, timeout_s)
        with answer:
            if answer.status >= 300:
                raise _error(answer)
            text = answer.read()
        return Answer(answer.status, json.loads(text) if text else None)

    def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout_s: float
    ) -> "http.client.HTTPResponse":
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._context())
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        all_headers = {"Accept": "application/json", "Connection": "close", **self._authorization(), **headers}
        payload = None
        if body is not None:
            payload = json.dumps(body, allow_nan=False).encode()
            all_headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, payload, all_headers)
            # With `Connection: close` the answer owns the socket, and closes it at its end.
            return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def address(self, path: str) -> "Tuple[str, Dict[str, str], Optional[ssl.SSLContext]]":
        """Returns the address of a call, its headers, and the settings of TLS if it has any."""
        return self.server + path, self._authorization(), self._context() if self._secure else None

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context()
            if self._cacert:
                try:
                    context.load_verify_locations(self._cacert)
                except (OSError, ssl.SSLError) as error:
                    raise ValueError(
                        f"the authorities in {self._cacert} cannot be read: {error}; correct cacert or FORERUNNER_CACERT"
                    ) from error
            self._tls = context
        return self._tls

    def _authorization(self) -> Dict[str, str]:
        token, path = self._token, self._token_file
        if token is None and path is None:
            token = os.environ.get("FORERUNNER_TOKEN") or None
            path = os.environ.get("FORERUNNER_TOKEN_FILE") if token is None else None
        if path:
            # Read for each call, since keys are rotated.
            with open(path, encoding="utf-8") as file:
                token = file.read().strip()
            if not token:
                raise ValueError(f"the token file {path} is empty; write the key into it")
        return {"Authorization": f"Bearer {token.strip()}"} if token else {}


def _error(answer: "http.client.HTTPResponse") -> ApiError:
    with answer:
        text = answer.read(_ERROR_BYTES)
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": text.decode(errors="replace")[:200].strip() or answer.reason}
    if "retry_after_s" not in problem:
        header = answer.headers.get("Retry-After", "")
        if header.isdigit():
            problem["retry_after_s"] = float(header)
    return ApiError(answer.status, problem)


def _delay_s(tries: int, asked_s: Optional[float]) -> float:
    """Returns the delay before the next try: what the node asks for, else twice the last one; and some chance."""
    base_s = min(_FIRST_DELAY_S * 2.0 ** (tries - 1), _LONGEST_DELAY_S)
    # Many clients that were rejected together shall not come back together.
    return max(base_s, asked_s or 0.0) * random.uniform(1.0, 1.25)
