"""Keep every set that the meters at the nodes gave, witnesses included, as a table in the run folder.

The ledger holds what the law saw; a witness is not in it. Rows go to the file as they come: a kill loses the last one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller.runtime.site import Site

NAME = "meters.csv"
COLUMNS = ("utc_s", "meter", "node", "use", "a_v", "b_v", "c_v", "a_a", "b_a", "c_a", "power_w", "energy_wh",
           "export_wh", "quality")  # fmt: skip


class MeterLog:
    """Append the sets of a site's meters; nothing is opened where it has none."""

    __slots__ = ("_file", "_offset_ns", "_ports", "_seen")

    def __init__(self, site: Site) -> None:
        self._ports = [(port.name, site.node_names[port.node], port.use) for port in site.meters]
        self._seen = [(0, 0)] * len(self._ports)
        self._offset_ns = site.utc_minus_mono_ns
        path = Path(site.run_dir) / NAME
        new = bool(self._ports) and not path.exists()
        self._file = path.open("a", buffering=1, encoding="utf-8") if self._ports else None
        if new and self._file is not None:
            self._file.write(",".join(COLUMNS) + "\n")

    def take(self, readings: Sequence[Any], now_ns: int) -> None:
        """Write the readings, in the site's order, that are newer than before, or of another quality from now on."""
        if self._file is None:
            return
        for k, reading in enumerate(readings):
            state = (reading.change_ns, reading.quality)
            if state == self._seen[k] or not reading.change_ns:
                continue
            at_ns = reading.change_ns if reading.change_ns != self._seen[k][0] else now_ns
            self._seen[k] = state
            values = (*reading.volt_v, *reading.amp_a, reading.power_w, reading.energy_wh, reading.export_wh)
            utc_s = f"{(at_ns + self._offset_ns) * 1e-9:.3f}"
            self._file.write(
                ",".join((utc_s, *self._ports[k], *(f"{x:.9g}" for x in values), str(reading.quality))) + "\n"
            )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
