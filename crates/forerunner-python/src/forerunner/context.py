"""Contexts that an agent has in memory, and the change that a task made to one.

Items are stored as JSON text. A task gets a copy, so a task that fails leaves the items as they were.
"""

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple


class MissingContext(Exception):
    """The agent does not have the context in the version that the node builds on."""


def encode(value: Any) -> str:
    """Returns a value as JSON on one line. NaN and infinity are no JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class Contexts:
    """The contexts of an agent: for each id, the version that the node named last, and the items."""

    def __init__(self) -> None:
        self._known: Dict[str, Tuple[int, List[str]]] = {}

    def load(self, params: Dict[str, Any]) -> None:
        """Applies `context/load`."""
        name = params["id"]
        version, items = self._known.get(name, (None, []))
        if params["base"] is None:
            items = []
        elif params["base"] != version:
            raise MissingContext(f"context {name} is not here at version {params['base']}")
        if "edit" in params:
            new = apply_edit(name, items, params["edit"])
        else:
            new = items + [encode(item) for item in params["items"]]
        self._known[name] = (params["version"], new)

    def drop(self, name: str) -> None:
        """Applies `context/drop`."""
        self._known.pop(name, None)

    def begin(self, context: Optional[Dict[str, Any]]) -> List[str]:
        """Returns the items for a task, and notes their version."""
        if context is None:
            return []
        items = self._known.get(context["id"], (None, []))[1]
        if len(items) != context["items"]:
            raise MissingContext(f"context {context['id']} has {len(items)} items here, not {context['items']}")
        self._known[context["id"]] = (context["version"], items)
        return items

    def commit(self, context: Dict[str, Any], items: List[str]) -> None:
        """Adopts the items of a task that succeeded. The next request of the node names their version."""
        self._known[context["id"]] = (context["version"], items)


def apply_edit(name: str, items: Sequence[str], steps: Sequence[Dict[str, Any]]) -> List[str]:
    """Returns the items that the steps of an edit lead to."""
    new: List[str] = []
    for step in steps:
        if "copy" in step:
            start, count = step["copy"]
            if start < 0 or count < 1 or start + count > len(items):
                raise MissingContext(f"context {name} has {len(items)} items here; the edit copies {step['copy']}")
            new += items[start : start + count]
        else:
            new += [encode(item) for item in step["insert"]]
    return new


def difference(old: Sequence[str], new: Sequence[str]) -> Optional[Dict[str, Any]]:
    """Returns the change from old items to new ones as the protocol has it; `None` if there is none."""
    if list(old) == list(new):
        return None
    if list(new[: len(old)]) == list(old):
        return {"append": [json.loads(item) for item in new[len(old) :]]}
    steps = _edit_steps(old, new)
    if any("copy" in step for step in steps):
        return {"edit": steps}
    return {"replace": [json.loads(item) for item in new]}


def _edit_steps(old: Sequence[str], new: Sequence[str]) -> List[Dict[str, Any]]:
    """Copies runs of old items and inserts the others, in one pass over the new items."""
    first: Dict[str, int] = {}
    for place, item in enumerate(old):
        first.setdefault(item, place)
    steps: List[Dict[str, Any]] = []
    following = 0
    for item in new:
        # The item after the last copied one is preferred, so that runs stay whole where items repeat.
        continues = following < len(old) and old[following] == item
        index: Optional[int] = following if continues else first.get(item)
        last = steps[-1] if steps else {}
        if index is None:
            if "insert" not in last:
                steps.append({"insert": []})
            steps[-1]["insert"].append(json.loads(item))
            continue
        if "copy" in last and index == following:
            last["copy"][1] += 1
        else:
            steps.append({"copy": [index, 1]})
        following = index + 1
    return steps
