"""Name every SCPI family, role and mode of the catalog."""

from collections.abc import Sequence

import pytest

from instruments.catalog import Model, all_models
from instruments.scpi_catalog import FIELDS

SCPI_MODELS = [model for model in all_models() if model.scpi is not None]
DRIVEN = [model for model in SCPI_MODELS if not model.model.undriven]
ZEROS = {name: 0.0 for names in FIELDS.values() for name in names} | {"ohm": 100.0}

ROLE_MODES = [
    (model, role, mode)
    for model in DRIVEN
    if model.scpi is not None
    for role, part in model.scpi.roles.items()
    for mode in part.cycle
]


KNOWN: dict[tuple[str, str], str] = {  # (test, model): why the twin cannot yet
}


def rendered(template: str, **values: object) -> str:
    """Return a message with its placeholders filled in: first channel, a watchdog of 5 s."""
    return template.format(**{"channel": 1, "seconds": 5.0, "milliseconds": 5000.0, **values})


def label(value: object) -> str:
    """Return how a parameter is named in a test's id."""
    return value.model.name if isinstance(value, Model) else str(value)


def cases(test: str, rows: Sequence[tuple[Model, str, str] | Model]) -> list[object]:
    """Return the parameters of a test, those that a twin cannot play yet marked as known to fail."""
    found: list[object] = []
    for row in rows:
        values = row if isinstance(row, tuple) else (row,)
        reason = KNOWN.get((test, values[0].model.name))
        marks = [pytest.mark.xfail(strict=True, reason=reason)] if reason else []
        found.append(pytest.param(*values, marks=marks, id="-".join(label(value) for value in values)))
    return found
