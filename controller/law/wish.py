"""Step 2, wish: the set-point asked for. Full power (+inf) unless a planner asks for less.

An unknown wish (NaN) keeps what is allowed now: an input that vanishes raises nothing. Export is not on a wire yet,
so a negative wish is 0.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Reason, Step

REASON, WISH = int(Reason.WISH), int(Step.WISH)
INF = math.inf


@Stage
def ask(wish_a: Array, last_a: Array, cap_a: Array, why: Array, why_a: Array, why_node: Array, chain: Array) -> None:
    """Start the chain of caps with the wish."""
    for i in range(wish_a.shape[0]):
        wish = wish_a[i]
        if not wish >= 0.0:
            wish = last_a[i] if math.isnan(wish) else 0.0
        cap_a[i] = wish
        why[i] = REASON
        why_a[i] = wish
        why_node[i] = -1
        chain[i, WISH] = wish
