"""Bind the contracts that a rig or site file names to its chargers and nodes."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from controller.runtime.contract_calendar import EPOCH
from controller.runtime.contract_plan import Binding, below, places, plan_contracts
from controller.runtime.plan_check import PlanError
from controller.runtime.plan_spec import ChargerSpec, NodeSpec, SiteSpec
from controller.runtime.site import ContractPort
from hil.rig.key_types import Seconds, Strict
from profiles.contract import AnyContract, load_contract
from profiles.contract_calls import Called, SteeringCall
from profiles.contract_windows import SteeringFixed
from profiles.errors import ProfileError


class ContractPart(Strict):
    """Apply a contract file to some chargers, or at some nodes."""

    file: str
    chargers: Annotated[list[str], Field(default=[], description="where its limit is measured, or what it is about")]
    nodes: Annotated[list[str], Field(default=[], description="connections at which its limit is measured")]
    lead_s: Seconds | None = Field(default=None, description="issue early by this time; default the worst obey time")
    socket: str | None = Field(
        default=None, description="lpc, p14a: local socket of the guard or contact; a plain name lies in the run folder"
    )
    envelope: str | None = Field(default=None, description="operating_envelope: its schedule file, CSV or JSON")
    envelope_key: str = Field(default="", description="key file of who signs the schedule; left out: not signed")
    reference: str | None = Field(
        default=None, description="contract that holds instead in the run compared with, which is then controlled too"
    )

    @model_validator(mode="after")
    def somewhere(self) -> "ContractPart":
        """Refuse a contract of nobody, and one that names both."""
        if bool(self.chargers) == bool(self.nodes):
            raise ValueError("give chargers or nodes, one of them: where the contract's limit is measured")
        return self


def bind_contracts(
    parts: Sequence[ContractPart],
    contracts: Sequence[AnyContract],
    chargers: Sequence[ChargerSpec],
    nodes: Sequence[NodeSpec],
) -> list[Binding]:
    """Return each contract with the indices of its chargers and nodes; those of a node are the ones below it.

    A PlanError names a node that is not there.
    """
    names, places = [charger.name for charger in chargers], [node.name for node in nodes]
    worst_s = max(charger.obey_s for charger in chargers)
    found = []
    if unknown := sorted({name for part in parts for name in part.nodes} - set(places)):
        raise PlanError(f"contract.nodes = {', '.join(unknown)}; allowed is {', '.join(places)}")
    for part, contract in zip(parts, contracts, strict=True):
        at = tuple(places.index(name) for name in part.nodes)
        own = [names.index(name) for name in part.chargers]
        under = dict.fromkeys(i for node in at for i in below(node, nodes, chargers))
        lead_s = worst_s if part.lead_s is None else part.lead_s
        found.append(Binding(contract, tuple(own or under), at, lead_s))
    return found


def contract_ports(
    parts: Sequence[ContractPart], contracts: Sequence[AnyContract], spec: SiteSpec, zone: str = ""
) -> list[ContractPort]:
    """Return what the running controller needs of the contracts on call; a PlanError names one that a node is too.

    `zone` is the site's, as of `plan_contracts`.
    """
    bindings = bind_contracts(parts, contracts, spec.chargers, spec.nodes)
    first = EPOCH + timedelta(days=spec.calendar_day + 1)
    rows = plan_contracts(bindings, spec.chargers, first, spec.nodes, zone).rows
    called = [binding for binding in bindings if isinstance(binding.contract, Called | SteeringCall | SteeringFixed)]
    names = [binding.contract.name for binding in called]
    known = {node.name for node in spec.nodes} | {charger.name for charger in spec.chargers}
    if taken := sorted(name for name in set(names) if name in known or names.count(name) > 1):
        text = "a call names the contract, so each needs a name that no node, charger or other contract has"
        raise PlanError(f"contract.name = {', '.join(taken)}; {text}")
    return [
        ContractPort(
            contract=binding.contract.model_dump(mode="json", by_alias=True),
            chargers=binding.chargers,
            nodes=tuple(node for _, node in places(binding, spec.chargers, spec.nodes) if node >= 0),
            rows=rows[binding.contract.name],
            lead_s=binding.lead_s,
        )
        for binding in called
    ]


def check_contract(key: str, file: str | None) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and what is allowed for a contract's file and zone."""
    try:
        contract = None if file is None else load_contract(file)
    except ProfileError as error:
        yield f"{key}.file", f'"{file}"', str(error)
        contract = None
    if contract is not None and contract.timezone is not None:
        try:
            ZoneInfo(contract.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            text = f'its times are of "{contract.timezone}", no IANA time zone; write one like "Europe/Amsterdam"'
            yield f"{key}.file", f'"{file}"', text
