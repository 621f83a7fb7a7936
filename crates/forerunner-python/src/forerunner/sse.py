"""Server-sent events, as WHATWG HTML defines them and as far as the node uses them."""

from typing import IO, Iterator, List, Tuple


def read_events(stream: IO[bytes]) -> Iterator[Tuple[str, str]]:
    """Yields id and data of each event until the stream ends."""
    seen = ""
    data: List[str] = []
    for raw in stream:
        line = raw.decode(errors="replace").rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line == "":
            if data:
                yield seen, "\n".join(data)
            data = []
        elif name == "data":
            data.append(value)
        elif name == "id":
            seen = value
