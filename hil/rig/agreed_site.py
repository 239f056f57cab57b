"""Declare a site for the plan: its nodes and chargers under the law's parameters and every contract's limits."""

from collections.abc import Sequence
from datetime import date

from controller.runtime.contract_limits import with_limits
from controller.runtime.contract_plan import Binding, plan_contracts
from controller.runtime.contract_recovery import with_recovery
from controller.runtime.plan_spec import INF, ChargerSpec, NodeSpec, SiteSpec
from hil.rig.schema import LawPart


def agreed_site(
    nodes: Sequence[NodeSpec],
    chargers: Sequence[ChargerSpec],
    bindings: Sequence[Binding],
    law: LawPart,
    *,
    today: date,
    timezone: str,
    period_s: float,
) -> SiteSpec:
    """Return the site as agreed: windows, groups and limits of its contracts, the law's parameters, the recovery.

    A PlanError says which contract does not fit.
    """
    limited, groups = with_limits(bindings, nodes, chargers)
    agreed = plan_contracts(bindings, chargers, today, nodes, timezone)
    site = SiteSpec(
        nodes=limited,
        chargers=tuple(chargers),
        windows=agreed.windows,
        calendar_day=agreed.calendar_day,
        groups=groups,
        period_s=period_s,
        rotation_s=law.rotation_s,
        min_on_s=law.min_on_s,
        min_off_s=law.min_off_s,
        grace_s=law.grace_s,
        brake_pu=law.brake_pu,
        brake_over=law.brake_over,
        brake_delay_s=law.brake_delay_s,
        brake_release_s=law.brake_release_s,
        brake_lost_s=INF if law.brake_lost_s is None else law.brake_lost_s,
    )
    return with_recovery(bindings, site)
