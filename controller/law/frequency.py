"""Step 2, wish, second half: frequency containment reserve (FCR), the set-point that answers the grid's frequency.

    amps = base + share * fcr_w / volts,   share = clip((f - f_nominal) / fcr_full_hz, -1, 1), 0 in the dead band

A high frequency charges more, a low one less or exports (load reference: + is from the grid). Dead band +-10 mHz, full
at +-200 mHz. Source: facts D6 (regelleistung.net for the dead band, V; the slope through the origin, R+). A frequency
that is not believed is answered by the base, and raises neither charging nor export.

A wish whose service says so (`wish_exempt`) waits for no random delay, ramp or minimum off time: FCR must begin within
2 s (SO GL, R+). Node limits, orders and break before make hold for it as for everybody.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Quality, Reason, Step
from controller.law.wish import asked

GOOD = int(Quality.GOOD)
WISH, FREQUENCY, UNTRUSTED = int(Reason.WISH), int(Reason.FREQUENCY), int(Reason.UNTRUSTED)
CHAIN = int(Step.WISH)
EARLY_NS = -100_000_000  # as in `trust`: a reading may be latched a moment after the clock was read
PLAUSIBLE_HZ = 5.0  # a grid further off its nominal frequency is a broken meter


@Stage
def respond(
    first: int,
    end: int,
    now_ns: Array,
    frequency_hz: Array,
    frequency_quality: Array,
    frequency_change_ns: Array,
    wish_a: Array,
    wish_w: Array,
    wish_exempt: Array,
    fcr_w: Array,
    fcr_base_a: Array,
    fcr_nominal_hz: Array,
    fcr_deadband_hz: Array,
    fcr_full_hz: Array,
    fcr_max_age_s: Array,
    volts_v: Array,
    delay_s: Array,
    last_a: Array,
    last_min_a: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    low_a: Array,
    low_why: Array,
    chain: Array,
    fcr_share: Array,
) -> None:
    """Move the wish of those who offer reserve by the response to the frequency."""
    off_hz = frequency_hz[0] - fcr_nominal_hz[0]
    age_ns = now_ns[0] - frequency_change_ns[0]
    good = frequency_quality[0] == GOOD and age_ns >= EARLY_NS and age_ns * 1e-9 <= fcr_max_age_s[0]
    good = good and -PLAUSIBLE_HZ <= off_hz <= PLAUSIBLE_HZ  # false on NaN
    share = 0.0
    if good and not -fcr_deadband_hz[0] <= off_hz <= fcr_deadband_hz[0]:
        share = min(max(off_hz / fcr_full_hz[0], -1.0), 1.0)
    fcr_share[0] = share if good else math.nan
    offered = 0
    for i in range(first, end):
        offered |= wish_exempt[i] | (1 if fcr_w[i] > 0.0 else 0)
    if offered == 0:
        return
    for i in range(first, end):
        if wish_exempt[i] == 1:
            delay_s[i] = 0.0
        wish = asked(wish_a[i], wish_w[i], volts_v[i])
        if not fcr_w[i] > 0.0 or math.isnan(wish):
            continue
        base = fcr_base_a[i] if math.isinf(wish) else wish
        code = FREQUENCY if share != 0.0 else WISH
        amps = base + (share * fcr_w[i] / volts_v[i] if share != 0.0 and volts_v[i] > 0.0 else 0.0)
        if not good:
            code = UNTRUSTED
            amps = min(max(amps, last_min_a[i]), last_a[i])
        cap_a[i] = max(amps, 0.0)
        low_a[i] = min(amps, 0.0)
        reason[i] = code
        reason_a[i] = amps
        low_why[i] = code
        chain[i, CHAIN] = cap_a[i]
