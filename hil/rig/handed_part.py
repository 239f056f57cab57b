"""Say what hands limits in at a site: the sockets of energy guards and contacts, and the files of envelopes."""

from collections.abc import Sequence
from pathlib import Path

from controller.runtime.contract_limits import measured_at
from controller.runtime.contract_plan import Binding
from controller.runtime.handed_guards import check_socket
from controller.runtime.handed_keys import DimmedContract, DimPort, EnvelopePort, GuardPort, HandedPort
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.plan_spec import SiteSpec
from hil.rig.contracts import ContractPart
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a

GUARD, DIM = "guard.sock", "dim.sock"
Bound = Sequence[tuple[str, ContractPart | None, Binding]]  # key in the file, its part, what it binds


def handed_port(where: str, bound: Bound, spec: SiteSpec, zone: str, run_dir: Path) -> HandedPort | None:
    """Return what the contracts of a rig or site need; None where nothing is handed in. RigError names what is wrong.

    One guard a node: contracts of consumption and of production at one node share its socket. `zone` is the site's.
    """
    problems = [problem for key, part, each in bound for problem in _misplaced(f"{where}:{key}", part, each)]
    guards: dict[int, GuardPort] = {}
    envelopes, taken = [], set[int]()
    for key, part, binding in bound:
        contract, at = binding.contract, measured_at(binding, spec.nodes, spec.chargers)
        if isinstance(contract, Lpc):
            for m in at:
                name = part.socket if part is not None and part.socket else f"{spec.nodes[m].name}-{GUARD}"
                held = guards[m].contracts if m in guards else []
                if any(other.limit.direction == contract.limit.direction for other in held):
                    text = "one contract of consumption and one of production a node"
                    problems.append(Problem(f"{where}:{key}", f'"{contract.name}"', text))
                    continue
                guards[m] = GuardPort(node=m, socket=guards[m].socket if m in guards else name,
                                      contracts=[*held, contract])  # fmt: skip
        elif isinstance(contract, OperatingEnvelope) and part is not None and part.envelope:
            if taken.intersection(at):
                problems.append(Problem(f"{where}:{key}.envelope", f'"{part.envelope}"', "one schedule a node"))
            taken.update(at)
            file, secret = (str(Path(name).absolute()) if name else "" for name in (part.envelope, part.envelope_key))
            envelopes.append(EnvelopePort(file=file, key=secret, nodes=list(at), contract=contract))
    dims = {k: group.dimmed_w for k, group in enumerate(spec.groups) if group.dimmed_w < float("inf")}
    named = [part.socket for _, part, b in bound if isinstance(b.contract, Par14a) and part is not None and part.socket]
    dim = DimPort(socket=named[0] if named else DIM, groups=dims, contracts=_dimmed(bound, zone)) if dims else None
    sockets = [guard.socket for guard in guards.values()] + ([dim.socket] if dim is not None else [])
    wrong = [(name, check_socket(run_dir.absolute() / name)) for name in sockets]
    problems += [Problem(f"{where}:contract.socket", f'"{name}"', text) for name, text in wrong if text]
    if doubled := sorted({name for name in sockets if sockets.count(name) > 1}):
        problems.append(Problem(f"{where}:contract.socket", ", ".join(doubled), "one guard or contact a socket"))
    if problems:
        raise RigError(problems)
    if not (guards or envelopes or dim):
        return None
    return HandedPort(guards=list(guards.values()), envelopes=envelopes, dim=dim)


def _dimmed(bound: Bound, zone: str) -> list[DimmedContract]:
    """Return the section 14a contracts that a contact dims, by name, with all chargers that each binds."""
    found: dict[str, DimmedContract] = {}
    for _, _, each in bound:
        contract = each.contract
        if isinstance(contract, Par14a) and not contract.dimmed:
            before = found[contract.name].chargers if contract.name in found else []
            chargers = sorted({*before, *each.chargers})
            found[contract.name] = DimmedContract(contract=contract, zone=contract.timezone or zone, chargers=chargers)
    return list(found.values())


def _misplaced(key: str, part: ContractPart | None, binding: Binding) -> list[Problem]:
    """Return the keys of a contract part that do not go with the contract's kind, and a key file that is none."""
    if part is None:
        return []
    found = []
    if part.socket and not isinstance(binding.contract, Lpc | Par14a):
        found.append(Problem(f"{key}.socket", f'"{part.socket}"', "belongs to contracts of kind lpc and p14a"))
    if (part.envelope or part.envelope_key) and not isinstance(binding.contract, OperatingEnvelope):
        text = "belongs to a contract of kind operating_envelope"
        found.append(Problem(f"{key}.envelope", f'"{part.envelope}"', text))
    if part.envelope_key:
        try:
            load_key(Path(part.envelope_key))
        except KeyFileError as error:
            found.append(Problem(f"{key}.envelope_key", f'"{part.envelope_key}"', str(error)))
    return found
