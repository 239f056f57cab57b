"""Name every SCPI family, role and mode of the catalog, and give a twin that knows settings and shows zeros."""

from hil.twins.scpi_device import ScpiDevice
from instruments.catalog import Model, all_models
from instruments.scpi_catalog import FIELDS

SCPI_MODELS = [model for model in all_models() if model.scpi is not None]
ZEROS = {name: 0.0 for names in FIELDS.values() for name in names}


class FamilyTwin(ScpiDevice):
    """Hold the settings of any family; every reading is 0, so that only the grammar and the settings are judged."""

    __slots__ = ()

    IMMEDIATE = frozenset({"select", "edit", "couple", "phase_mode", "channel"})

    def reading(self, name: str, at: int) -> float | str:
        """Return 0, or the word that was set."""
        if name == "array":
            return "0, 0, 0"
        value = self.values.get(name, 0.0)
        return value[at] if isinstance(value, list) else value  # type: ignore[no-any-return]

    def phases(self) -> list[int]:
        """Return the selected phase, or all."""
        if self.values.get("couple") == "ALL" or self.values.get("edit") == "ALL":
            return [0, 1, 2]
        return [int(self.values.get("select", 1)) - 1]


def rendered(template: str, **values: object) -> str:
    """Return a message with its placeholders filled in: first channel, a watchdog of 5 s."""
    given = {"channel": 1, "seconds": 5.0, "milliseconds": 5000.0, **values}
    return template.format(**given)


ROLE_MODES = [
    (model, role, mode)
    for model in SCPI_MODELS
    if model.scpi is not None
    for role, part in model.scpi.roles.items()
    for mode in part.cycle
]


def label(value: object) -> str:
    """Return how a parameter is named in a test's id."""
    return value.model.name if isinstance(value, Model) else str(value)
