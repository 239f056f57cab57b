"""Check what a rig or site file says of its links for orders: the nodes that they name must be there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from controller.runtime.journal import NAME, JournalError, verify
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.site import OpenAdrPort, S2Port
from hil.rig.references import Problem, near
from hil.rig.rigfile import RigError


def check_order_links(where: str, openadr: OpenAdrPort | None, s2: S2Port | None, nodes: Iterable[str]) -> None:
    """Refuse, with a RigError, a link whose node is not one of `nodes`; `where` names the file."""
    known = list(nodes)
    given = [("openadr.node", openadr.node)] if openadr is not None else []
    given += [("s2.node", s2.node)] if s2 is not None else []
    problems = [
        Problem(f"{where}:{key}", name, f"is no node; {near(name, known)}there are {', '.join(known)}")
        for key, name in given
        if name not in known
    ]
    if problems:
        raise RigError(problems)


def check_orders(where: str, sources: Mapping[str, str], journal: Path | None = None) -> None:
    """Refuse, with a RigError, a key file that cannot be read and a journal that is none or was tampered with.

    `journal` is the folder of a journal that outlives the runs; one that is not there yet is made at the start.
    """
    problems = []
    for name, file in sources.items():
        try:
            if file:
                load_key(Path(file))
        except KeyFileError as error:
            problems.append(Problem(f"{where}:orders.source.{name}", f'"{file}"', str(error)))
    if journal is not None and (journal / NAME).exists():
        text = ""
        try:
            _, findings = verify(journal / NAME)
            text = "; ".join(f"entry {finding.no}: {finding.what}" for finding in findings[:3])
        except JournalError as error:
            text = str(error)
        if text:
            text += "; keep it aside as evidence and name another folder, `voltbench journal verify` tells all"
            problems.append(Problem(f"{where}:orders.journal", f'"{journal}"', text))
    if problems:
        raise RigError(problems)
