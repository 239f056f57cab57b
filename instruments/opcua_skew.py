"""Judge a station's clock by the source stamps of what it measures. No wire and no clock in here.

A stamp is never younger than its measurement: the least age within a window is the shortest way to us minus the skew
of the station's clock. A stamp from the future tells at once; a clock behind looks like a slow station, so that only a
late one is told; a drift is the slope of the least ages.
"""

import math
from dataclasses import dataclass, field

import numpy as np

AHEAD_S = 0.25  # a stamp from the future by more than this: the law calls it Bad from its own tolerance on
BEHIND_S = 2.0  # least age of a station that measures, publishes and travels in time
WINDOW_S = 30.0
WINDOWS = 40  # the drift is seen over this many
DRIFT_WINDOWS = 10  # and told from this many on
DRIFT_PPM = 200.0  # a quartz without any reference does better
DRIFT_S = 0.1  # told once it amounts to this much


@dataclass(slots=True)
class SkewWatch:
    """Take the age of each new stamp; `text` says what is wrong with the station's clock, empty nothing.

    `skew_s` is how far it is ahead (+) or behind (-) while that is told, NaN otherwise.
    """

    text: str = ""
    skew_s: float = math.nan
    _least_s: float = math.inf
    _begun_ns: int = 0
    _minima: list[tuple[float, float]] = field(default_factory=list)

    def take(self, stamp_utc_ns: int, utc_ns: int, now_ns: int) -> bool:
        """Take a new source stamp seen at `utc_ns` of ours; return whether what is told has changed."""
        age_s = (utc_ns - stamp_utc_ns) / 1e9
        before = self.text
        if self._begun_ns == 0:
            self._begun_ns = now_ns
        self._least_s = min(self._least_s, age_s)
        if age_s < -AHEAD_S:
            self._tell(-age_s, f"its stamps are {-age_s:.2f} s ahead of our clock")
        if (now_ns - self._begun_ns) / 1e9 >= WINDOW_S:
            self._close(now_ns)
        return _kind(self.text) != _kind(before)

    def forget(self) -> None:
        """Begin anew: after a break the stamps say nothing of the drift before."""
        self._least_s, self._begun_ns = math.inf, 0
        self._minima.clear()

    def _close(self, now_ns: int) -> None:
        """Judge a window that is over."""
        least_s = self._least_s
        self._minima = [*self._minima, (now_ns / 1e9, least_s)][-WINDOWS:]
        self._least_s, self._begun_ns = math.inf, now_ns
        ppm, moved_s = self._drift()
        if least_s < -AHEAD_S:
            self._tell(-least_s, f"its stamps are {-least_s:.2f} s ahead of our clock")
        elif least_s > BEHIND_S:
            self._tell(-least_s, f"its stamps are at least {least_s:.1f} s behind our clock, or it publishes late")
        elif abs(ppm) > DRIFT_PPM and abs(moved_s) > DRIFT_S:
            way = "slow" if ppm > 0.0 else "fast"
            self._tell(-least_s, f"its clock runs {way} by {abs(ppm):.0f} ppm, {abs(moved_s):.2f} s so far")
        else:
            self.text, self.skew_s = "", math.nan

    def _drift(self) -> tuple[float, float]:
        """Return the drift of the station's clock, ppm (+ slow), and what it came to, s; 0 while it is not known."""
        if len(self._minima) < DRIFT_WINDOWS:
            return 0.0, 0.0
        times, ages = np.array(self._minima).T
        slope = float(np.polyfit(times - times[0], ages, 1)[0])
        return slope * 1e6, slope * float(times[-1] - times[0])

    def _tell(self, skew_s: float, text: str) -> None:
        self.text = f"{text}; synchronise both clocks (NTP)"
        self.skew_s = skew_s


def _kind(text: str) -> str:
    """Return a text without its figures: what is told changes with the kind of fault, not with each figure."""
    return "".join(letter for letter in text if not letter.isdigit())
