"""Keep what the bench read, cycle by cycle, as bench.parquet: source or supply, loads, analyzer, played car.

Other than the samples of the run this is what the instruments said, not the plant's truth.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from controller.runtime.bench_images import MEAS_NAME, MeasuredView
from controller.runtime.site import Site
from controller.runtime.store import StoreError

NAME = "bench.parquet"
NS = 1_000_000_000
UNITS = {
    "volt_v": "V", "amp_a": "A", "power_w": "W", "analyzer_v": "V", "analyzer_a": "A", "analyzer_w": "W",
    "load_set_a": "A", "load_a": "A", "load_v": "V", "duty": "1", "cp": "1",
    "dc_v": "V", "dc_a": "A", "dc_w": "W", "demand_a": "A", "soc": "1",
}  # fmt: skip
PHASES = ("l1", "l2", "l3")


class BenchRecorder:
    """Collect the bench's records by scenario time; `save` writes them where there are any."""

    __slots__ = ("_rows", "_seen_ns", "_site", "_start_ns", "_view")

    def __init__(self, site: Site, start_utc_s: float) -> None:
        self._site = site
        self._start_ns = round(start_utc_s * NS) - site.utc_minus_mono_ns  # monotonic clock at scenario time 0
        self._view: MeasuredView | None = None
        self._rows: list[tuple[float, Any]] = []
        self._seen_ns = 0

    def sample(self) -> None:
        """Take the newest record, where the bench has written one since the last."""
        if self._site.bench is None:
            return
        if self._view is None:
            try:
                self._view = MeasuredView(self._site.store(MEAS_NAME))
            except StoreError:  # the bench has not made it yet
                return
        record = self._view.read()
        if record is not None and int(record["stamp_ns"]) != self._seen_ns:
            self._seen_ns = int(record["stamp_ns"])
            self._rows.append(((self._seen_ns - self._start_ns) / NS, record.copy()))

    def save(self, run_dir: Path) -> None:
        """Write `bench.parquet` into the run folder; a column a quantity and phase, its unit in the metadata."""
        if not self._rows:
            return
        records = np.array([record for _, record in self._rows])
        columns: dict[str, tuple[np.ndarray, str]] = {"t_s": (np.array([t_s for t_s, _ in self._rows]), "s")}
        for name, unit in UNITS.items():
            values = records[name].astype(float)
            if values.ndim == 1:
                columns[name] = (values, unit)
            else:
                columns |= {f"{phase}.{name}": (values[:, k], unit) for k, phase in enumerate(PHASES)}
        fields = [pa.field(name, pa.float64(), metadata={"unit": unit}) for name, (_, unit) in columns.items()]
        table = pa.Table.from_arrays([pa.array(values) for values, _ in columns.values()], schema=pa.schema(fields))
        pq.write_table(table, run_dir / NAME, compression="zstd")


def load_bench(run_dir: Path) -> dict[str, np.ndarray]:
    """Return the columns of a run's bench.parquet by name; an empty dictionary where it has none."""
    path = run_dir / NAME
    if not path.is_file():
        return {}
    table = pq.read_table(path)
    return {name: np.asarray(table.column(name)) for name in table.column_names}
