"""Ask the operator something and take the answer: two append-only files in the store folder, one writer each.

The bench process asks; whoever owns the terminal shows the question and writes down what was typed.
"""

import json
from pathlib import Path
from typing import Any

from controller.runtime.site import Site

QUESTIONS, ANSWERS = "questions.jsonl", "answers.jsonl"


class Lines:
    """Append records to a file of JSON lines, or read those that came since the last look."""

    __slots__ = ("_offset", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def append(self, record: dict[str, Any]) -> None:
        """Write one record as a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def fresh(self) -> list[dict[str, Any]]:
        """Return the records that have come since the last call; a line that is not whole yet is left for the next."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class Asker:
    """Ask one question at a time. A new one takes the place of the last, whose answer counts no more."""

    __slots__ = ("_answers", "_count", "_questions")

    def __init__(self, site: Site) -> None:
        self._questions = Lines(site.store(QUESTIONS))
        self._answers = Lines(site.store(ANSWERS))
        self._count = 0

    def ask(self, text: str) -> None:
        """Ask, in words that say what to do and what to type."""
        self._answers.fresh()  # typed before it was asked
        self._count += 1
        self._questions.append({"number": self._count, "text": text})

    def say(self, text: str) -> None:
        """Tell the operator something that needs no answer."""
        self._questions.append({"number": 0, "text": text})

    def answer(self) -> str | None:
        """Return what was typed to the last question, None where nothing has been yet."""
        typed = [str(record["text"]) for record in self._answers.fresh() if record["number"] == self._count]
        return typed[-1] if typed else None
