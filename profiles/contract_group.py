"""Declare capacities that several connections share: a cluster of stations, active network management (ANM)."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import ContractBase, Strict, Value


class Member(Strict):
    """Declare a member by the charger that it has: date of its application or connection, and its firm part."""

    charger: str
    date: date
    firm_w: Value = 0.0


class Shared(ContractBase):
    """Declare the limit of the sum of its members, W; `limit.point` "connection" counts whole connections.

    `constraint` is a node of the rig or site whose own room bounds the sum too. `member` gives dates and firm parts;
    the contract's chargers in the rig or site file are the members.
    """

    limit_w: Annotated[float, Field(ge=0)]
    constraint: str | None = None
    member: list[Member] = Field(default=[])

    @model_validator(mode="after")
    def in_watts(self) -> "Shared":
        """Refuse a sum in another unit, and a charger that is named twice."""
        if self.limit.quantity != "W":
            raise ValueError(f'limit.quantity = "{self.limit.quantity}": a group shares "W"')
        names = [member.charger for member in self.member]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"member: {', '.join(twice)} more than once")
        return self


class Cluster(Shared):
    """A capacity shared by stations of several connections: max-min, in turns where it does not reach for all."""

    kind: Literal["group"]


class AnmProRata(Shared):
    """Active network management, pro rata: all non-firm members are curtailed by the same share."""

    kind: Literal["anm_prorata"]


class AnmLifo(Shared):
    """Active network management, last in first out: the member with the latest date is curtailed first."""

    kind: Literal["anm_lifo"]

    @model_validator(mode="after")
    def with_dates(self) -> "AnmLifo":
        """Refuse a stack without dates."""
        if not self.member:
            raise ValueError("member: last in, first out needs a [[member]] with its date for every charger")
        return self


Kinds = Cluster | AnmProRata | AnmLifo
