"""Record what goes over the wire to a SCPI instrument, so that a test can play it back without the instrument.

A record is a JSONL file: the first line says who answered and how it was reached, each further one is an exchange,
``{"send": ..., "reply": ...}``, the reply absent where none was wanted and ``fault`` in its place where none came.
Lines are written as they happen, so what led to a crash is in the file. `python -m instruments.scpi_record` asks every
query of a catalog record, and only queries: the way to confirm a record against a device before anything is energised.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from instruments.catalog import CatalogError, load_model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_port import ScpiPort, is_error

VERSION = 1


@dataclass(frozen=True, slots=True)
class Exchange:
    """Hold one message and its answer line, both without terminator; `reply` None where there was none."""

    send: str
    reply: str | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Hold what was recorded with one device."""

    model: str
    identity: str
    exchanges: tuple[Exchange, ...]


class RecordingPort(ScpiPort):
    """Do what a ScpiPort does and write every exchange to a file; use it in its place.

    Parameters as of ScpiPort, and `model`, the catalog's name for the head of the file, and the open file.
    """

    __slots__ = ("_file", "_model")

    def __init__(
        self, name: str, part: ScpiPart, address: str, model: str, file: TextIO, *, timeout_s: float | None = None
    ) -> None:
        super().__init__(name, part, address, timeout_s=timeout_s)
        self._file = file
        self._model = model

    def open(self) -> str:
        """Open and identify; the head of the file is written at the first time."""
        first = not self.identity
        answer = super().open()
        if first:
            self._write({"version": VERSION, "model": self._model, "identity": answer})
        self._write({"send": "*IDN?", "reply": answer})
        return answer

    def send(self, message: str) -> None:
        """Send a message that has no answer, and record it."""
        super().send(message)
        self._write({"send": message})

    def query(self, message: str) -> str:
        """Send a message and return its answer line, and record both, or the fault that came instead."""
        try:
            answer = super().query(message)
        except PortFault as fault:
            self._write({"send": message, "fault": fault.kind.name.lower()})
            raise
        self._write({"send": message, "reply": answer})
        return answer

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()


def read_protocol(path: Path) -> Protocol:
    """Read a recorded file; a ValueError names the line that is none of ours."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        head = json.loads(lines[0]) if lines else {}
        if head.get("version") != VERSION:
            raise ValueError(f"{path.name}:1: no head of a recorded protocol of version {VERSION}")
        exchanges = tuple(Exchange(**json.loads(line)) for line in lines[1:])
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: not a recorded protocol: {error}") from error
    return Protocol(head["model"], head["identity"], exchanges)


def queries_of(part: ScpiPart) -> Iterator[str]:
    """Yield every query of a record once, first channel, error query last; nothing that sets, clears or switches."""
    seen: set[str] = set()
    steps = [step for role in part.roles.values() for setup in role.setup.values() for step in setup.steps]
    asked = [part.remote.ask, *(quantity.ask for quantity in part.quantities.values()), *(step.ask for step in steps)]
    for template in asked:
        query = template.replace("{channel}", "1")
        if query and query not in seen and ";" not in query:
            seen.add(query)
            yield query


def survey(port: ScpiPort, queries: Sequence[str]) -> list[tuple[str, str]]:
    """Ask each query and return those that the device did not take, with what it said instead.

    A query that times out is one of them: the port opens the device anew by itself and goes on.
    """
    refused: list[tuple[str, str]] = []
    errors = port.part.parser.error_query
    port.drain_errors()
    for query in queries:
        try:
            port.query(query)
            answer = port.query(errors)
        except PortFault as fault:
            if fault.kind is not FaultKind.TIMEOUT or not port.is_open:
                raise
            answer = "no answer"
            port.drain_errors()
        if answer == "no answer" or is_error(answer, port.part.parser):
            refused.append((query, answer))
    return refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Survey one device into a file; return 0 where it took every query, 1 where not, 2 and 3 as the command does."""
    parser = argparse.ArgumentParser(prog="python -m instruments.scpi_record", description=main.__doc__)
    parser.add_argument("model", help="catalog name of the family")
    parser.add_argument("address", help="TCPIP::host::port::SOCKET, or another VISA address")
    parser.add_argument("file", type=Path, help="JSONL file to write; it must not exist")
    given = parser.parse_args(arguments)
    try:
        part = load_model(given.model).scpi
        if part is None:
            raise CatalogError(f"{given.model}: speaks no SCPI")
        with given.file.open("x", encoding="utf-8") as file:
            port = RecordingPort("device", part, given.address, given.model, file)
            print(port.open())
            refused = survey(port, list(queries_of(port.part)))
            port.close()
    except (CatalogError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except PortFault as fault:
        print(fault, file=sys.stderr)
        return 3
    for query, answer in refused:
        print(f"{query:32} {answer}")
    print(f"{len(refused)} queries refused; {given.file} holds every answer", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
