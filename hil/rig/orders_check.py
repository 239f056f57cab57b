"""Check what a rig or site file says of its links for orders: the nodes that they name must be there."""

from collections.abc import Iterable

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
