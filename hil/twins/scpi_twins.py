"""Make the twin of any SCPI family from its catalog record alone, by its role."""

from collections.abc import Callable

from hil.twins.scpi_analyzer import AnalyzerTwin
from hil.twins.scpi_dc import DcTwin
from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_server import ScpiServer
from hil.twins.scpi_source import AcSourceTwin
from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart

TWINS: dict[str, type[TerminalTwin]] = {
    "ac_source": AcSourceTwin,
    "ac_load": AcLoadTwin,
    "dc_supply": DcTwin,
    "bidirectional_supply": DcTwin,
    "dc_load": DcTwin,
    "analyzer": AnalyzerTwin,
}


def make_twin(part: ScpiPart, clock_s: Callable[[], float], role: str = "") -> TerminalTwin:
    """Return the twin of a record in a role of it, the main one where none is named.

    ValueError where the record has no such role.
    """
    name = role or next(iter(part.roles))
    if name not in part.roles:
        raise ValueError(f"role {name}: the record has {', '.join(part.roles)}")
    return TWINS[name](part, clock_s, name)


def serve(twin: TerminalTwin) -> ScpiServer:
    """Return the server of a twin, not yet listening, its connections known to it one by one."""
    return ScpiServer(twin.answer, twin.part.transport, twin)
