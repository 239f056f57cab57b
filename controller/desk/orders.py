"""Read what an operator types as an order, and post it to the run's mailbox."""

import math
import os
from typing import Protocol

from controller.desk.text import clean, number
from controller.runtime.mailbox import Mailbox
from controller.runtime.window import Window

MINUTES = 15.0  # an order without an end would be forgotten
MOST_MINUTES = 1440.0


class Post(Protocol):
    """Take an operator's order, as Mailbox.post does; MailboxError says why not."""

    def __call__(self, kind: str, index: int, value_a: float = ..., until_s: float = ..., owner: str = ...) -> None: ...


def owner() -> str:
    """Return who orders, as the mailbox keeps it: 40 bytes at the most."""
    return f"desk:{clean(os.environ.get('USER', 'operator'))}".encode()[:40].decode(errors="ignore")


def read_order(typed: str, most_a: float) -> tuple[float, float]:
    """Return (A, minutes) of "6" or "6 30"; a ValueError says what is allowed, up to `most_a` A."""
    try:
        given = [float(part) for part in typed.replace(",", ".").split()]
    except ValueError:
        given = []
    value_a = given[0] if given else math.nan
    minutes = given[1] if len(given) > 1 else MINUTES
    if len(given) > 2 or not (0.0 <= value_a <= most_a and 0.0 < minutes <= MOST_MINUTES):
        allowed = f"0 to {number(most_a)} A, then perhaps up to {MOST_MINUTES:.0f} minutes"
        raise ValueError(f"{typed!r}: give {allowed}, e.g. 6 30")
    return value_a, minutes


def mailbox_post(window: Window) -> Post:
    """Return the poster of a run's mailbox; a MailboxError says that there is none."""
    return Mailbox.attach(window.orders_path).post
