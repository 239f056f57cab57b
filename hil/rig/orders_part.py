"""Declare `[orders]` of rig and site files: who may send orders, and where orders and deeds are kept."""

from typing import Annotated

from pydantic import Field

from hil.rig.key_types import Strict

Name = Annotated[str, Field(min_length=1, max_length=64)]


class OrdersPart(Strict):
    """Name those who may send orders; without any, whoever may write to the controller's files."""

    source: dict[Name, str] = Field(
        default={}, description="who may send orders -> file of its key, or empty: one that this machine vouches for"
    )


class SiteOrders(OrdersPart):
    """Say in addition where a site's journal lies: it outlives the runs, and a restart takes its orders up."""

    journal: str = Field(default="", description="folder of the journal; left out: runs/<name>.journal")
