"""Play the conformance vectors against every dialect in the catalog, with the answer that its switches promise."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from dialect_helpers import DIALECTS, Dialect, ask, drain, twin_of

VECTORS = tomllib.loads((Path(__file__).parent / "vectors.toml").read_text(encoding="utf-8"))["vector"]
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
CLASSES = ((-199, -100, 32), (-299, -200, 16), (-399, -300, 8), (-499, -400, 4))  # IEEE 488.2 11.5.1


def expected(vector: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return reply and codes, those of the first condition that fits."""
    fitting = [case for case in vector.get("when", []) if dialect.says(case["switch"]) == case["is"]]
    return {"reply": vector.get("reply", ""), "codes": vector["codes"], **(fitting[0] if fitting else {})}


def is_same(answer: str, wanted: str) -> bool:
    """Tell whether an answer is what is wanted: as numbers where a number is wanted, else letter by letter."""
    if NUMBER.fullmatch(wanted):
        found = NUMBER.match(answer)
        return found is not None and float(found[0]) == pytest.approx(float(wanted), rel=2e-3, abs=6e-3)
    return answer == wanted


def concerns(vector: dict[str, Any], part: Any) -> bool:
    """Tell whether a vector is meant for a dialect."""
    needs = vector.get("needs")
    return needs is None or Dialect(part).says(needs["switch"]) == needs["is"]


CASES = [
    pytest.param(model.scpi, vector, id=f"{model.model.name}-{vector['name'].replace(' ', '_')}")
    for model in DIALECTS
    for vector in VECTORS
    if concerns(vector, model.scpi)
]


@pytest.mark.parametrize(("part", "vector"), CASES)
def test_vector(part: Any, vector: dict[str, Any]) -> None:
    dialect = Dialect(part)
    fields, want = dialect.fields(), expected(vector, dialect)
    twin = twin_of(part)
    answer = ""
    for message in vector["send"]:
        text = message
        for name, value in fields.items():
            text = text.replace("{" + name + "}", value)
        answer = ask(twin, text)
    reply = want["reply"]
    for name, value in fields.items():
        reply = reply.replace("{" + name + "}", value)
    codes = [dialect.code(code) for code in want["codes"]]
    assert is_same(answer, reply) if reply else answer == "", f"{answer!r}, wanted {reply!r}"
    if part.parser.error_query == "*ESR?":
        seen = int(ask(twin, "*ESR?")) & 60
        assert seen == sum({bit for code in codes for low, high, bit in CLASSES if low <= code <= high})
    else:
        assert drain(twin) == codes
