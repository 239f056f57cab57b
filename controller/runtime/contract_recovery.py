"""Let contracts say how load comes back: at least as slowly as any of them asks, for the chargers that it binds."""

from collections.abc import Iterable
from dataclasses import replace

from controller.runtime.contract_limits import NOMINAL_V
from controller.runtime.contract_plan import Binding
from controller.runtime.plan_spec import INF, SiteSpec


def with_recovery(bindings: Iterable[Binding], site: SiteSpec) -> SiteSpec:
    """Return the site with ramp, random delay and minimum off time as strict as its own and every contract's.

    The watts of a contract's ramp are shared by the phases of its chargers at 230 V; the minimum off time is one for
    the whole site (the law has one).
    """
    chargers, min_off_s = list(site.chargers), site.min_off_s
    for binding in bindings:
        asked = binding.contract.recovery
        phases = sum(phase >= 0 for i in binding.chargers for phase in chargers[i].phase_map)
        ramp_w_per_s = INF if asked.ramp_w_per_s is None else asked.ramp_w_per_s
        for i in binding.chargers:
            mine = chargers[i]
            chargers[i] = replace(
                mine,
                ramp_up_a_per_s=min(mine.ramp_up_a_per_s, ramp_w_per_s / (NOMINAL_V * phases)),
                random_delay_s=max(mine.random_delay_s, asked.random_delay_s),
            )
        min_off_s = max(min_off_s, asked.min_off_s)
    return replace(site, chargers=tuple(chargers), min_off_s=min_off_s)
