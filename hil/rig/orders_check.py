"""Check what a rig or site file says of its links for orders: the nodes and contracts that they name must be there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from controller.runtime.journal import NAME, JournalError, verify
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.site import OpenAdrPort, S2Port
from hil.rig.references import Problem, near
from hil.rig.rigfile import RigError
from profiles.contract import AnyContract
from profiles.contract_calls import Called, SteeringCall


def check_order_links(
    where: str,
    openadr: OpenAdrPort | None,
    s2: S2Port | None,
    nodes: Iterable[str],
    contracts: Iterable[AnyContract] = (),
) -> None:
    """Refuse, with a RigError, a link whose node is not one of `nodes`, or whose contract cannot be called on.

    `where` names the file.
    """
    known, callable_ = list(nodes), [c.name for c in contracts if isinstance(c, Called | SteeringCall)]
    limits = [c.name for c in contracts if isinstance(c, Called)]
    given: list[tuple[str, str, str, list[str]]] = []
    if openadr is not None:
        given.append(("openadr.node", openadr.node, "node", known))
        for program, name in openadr.contracts.items():
            given.append((f"openadr.contracts.{program}", name, "contract that can be called on", callable_))
    if s2 is not None:
        given.append(("s2.node", s2.node, "node", known))
        if s2.contract:
            given.append(("s2.contract", s2.contract, "contract of limits on call", limits))
    problems = [
        Problem(f"{where}:{key}", name, f"is no {what}; {near(name, there)}there are {', '.join(there) or 'none'}")
        for key, name, what, there in given
        if name not in there
    ]
    if openadr is not None and len(set(openadr.contracts.values())) < len(openadr.contracts):
        problems.append(Problem(f"{where}:openadr.contracts", "", "one program for each contract, no contract twice"))
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
