"""Declare the keys of a meter at a node of the tree, in rig and site files."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from controller.runtime.plan_spec import NodeSpec
from controller.runtime.site import MeterPort
from hil.rig.charger_keys import Twin
from hil.rig.key_types import Seconds, Strict

Phase = Literal["a", "b", "c"]


class MeterKeys(Strict):
    """Say where a meter sits and what it is for."""

    node: str = Field(description="name of the node that it measures")
    use: Literal["law", "evidence"] = Field(
        default="law", description="law: it measures the node; evidence: a witness that no decision depends on"
    )
    phase_map: Annotated[
        list[Phase],
        Field(default=["a", "b", "c"], min_length=3, max_length=3, description="grid phases at L1, L2, L3"),
    ]
    ct_sign: Literal[1, -1] = Field(default=1, description="-1: its current transformers are turned round")
    unit: Annotated[int, Field(ge=0, le=247)] | None = Field(
        default=None, description="unit id set on the device; default the model's"
    )
    read_s: Annotated[float, Field(ge=0.05, le=60, description="from one set of values to the next")] = 0.5
    max_age_s: Seconds = Field(default=2.0, description="older values are not believed")
    hold_s: Seconds = Field(default=30.0, description="then the last ones hold so long, then the design load")
    frozen_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="values unchanged for so long are not believed; left out: they are"
    )

    def wired(self, address: str, nodes: Sequence[str]) -> MeterPort:
        """Return what the wires process is told of it; `nodes` are the names of the plan's."""
        first, second, third = ("abc".index(letter) for letter in self.phase_map)
        return MeterPort(
            address=address,
            node=list(nodes).index(self.node),
            phase_map=(first, second, third),
            frozen_s=float("inf") if self.frozen_s is None else self.frozen_s,
            **{key: getattr(self, key) for key in ("name", "model", "unit", "ct_sign", "use", "read_s")},
        )


class MeterPart(Twin, MeterKeys):
    """Place a meter of a rig, emulated or real; one for the law stands in for the substation at its node."""


class SiteMeter(MeterKeys):
    """Place a meter of a site and say how it is reached."""

    name: Annotated[str, Field(min_length=1, max_length=48)]
    model: str
    address: str = Field(description="modbus+tcp://host:port; devices behind one gateway share it")


def with_meters(nodes: Iterable[NodeSpec], meters: Sequence[MeterKeys]) -> tuple[NodeSpec, ...]:
    """Return nodes of which those with a meter for the law are measured by it, with its ages."""
    by_node = {part.node: part for part in meters if part.use == "law"}

    def metered(node: NodeSpec) -> NodeSpec:
        part = by_node.get(node.name)
        return node if part is None else replace(node, metered=True, max_age_s=part.max_age_s, hold_s=part.hold_s)

    return tuple(metered(node) for node in nodes)
