"""What an agent asks of a person."""

import hashlib
import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

#: One way to answer: its id, or a mapping with `id`, and `name` and `kind` if they help.
Option = Union[str, Mapping[str, Any]]


class TaskWaits(BaseException):
    """Ends a task function that asked: the task waits for the answer, and the function then runs anew.

    It is no `Exception`: `except Exception` does not catch it.
    """

    def __init__(self, question: Dict[str, Any]) -> None:
        super().__init__(f"the task waits for the answer to: {question['prompt']}")
        self.question = question


class Questions:
    """The questions of one run, and the answers to those of earlier runs."""

    def __init__(self, requests: Sequence[Mapping[str, Any]]) -> None:
        self._answers = {asked["key"]: asked["answer"] for asked in requests if "answer" in asked}
        self._times: Dict[str, int] = {}

    def ask(self, question: Dict[str, Any], key: Optional[str]) -> Any:
        """Returns the answer, or raises `TaskWaits`.

        A question that a function asks again, as in a loop, is another question. One with a key of its own is the same.
        """
        if key is None:
            key = _key_of(question)
            self._times[key] = self._times.get(key, 0) + 1
            if self._times[key] > 1:
                key = f"{key}-{self._times[key]}"
        if key in self._answers:
            return self._answers[key]
        raise TaskWaits({**question, "key": key})


def question_of(
    prompt: str,
    options: Sequence[Option],
    kind: str,
    schema: Any,
    details: Any,
    timeout_s: Optional[float],
) -> Dict[str, Any]:
    """Returns a question as the protocol has it, without what is not given."""
    listed: List[Dict[str, Any]] = [
        {"id": option} if isinstance(option, str) else dict(option) for option in options
    ]
    question: Dict[str, Any] = {"prompt": prompt, "kind": kind}
    for name, value in (("options", listed or None), ("schema", schema), ("details", details), ("timeout_s", timeout_s)):
        if value is not None:
            question[name] = value
    return question


def _key_of(question: Mapping[str, Any]) -> str:
    ids = [option["id"] for option in question.get("options", [])]
    text = json.dumps([question["kind"], question["prompt"], ids])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
