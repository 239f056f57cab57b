"""Extract household load profiles of SimBench into profiles/households.

Run once: ``pip download --no-deps simbench==1.6.3``, then ``python scripts/extract_households.py simbench-*.whl``.
simbench is not a dependency of the project; only two tables of its wheel are read.

Of the six household shapes (H0-A, B, C, G, H, L) five are taken: SimBench gives H0-H to none of its customers, and it
is not a household's (it stays over half of its peak most of the year).
"""

import csv
import io
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "profiles" / "households"
FOLDER = "simbench/networks/1-complete_data-mixed-all-0-sw"
SHAPES = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")
MONDAY = datetime(2016, 1, 18)
DAYS = 7
STEPS_A_HOUR = 4


def rows_of(wheel: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one of SimBench's tables."""
    with wheel.open(f"{FOLDER}/{name}") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter=";")


def write_rows(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one table with line feeds only, so that the file is the same on every platform."""
    with (TARGET / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main(path: str) -> None:
    """Write the week and the table of customers."""
    with zipfile.ZipFile(path) as wheel:
        week, yearly_h = [], dict.fromkeys(SHAPES, 0.0)
        for row in rows_of(wheel, "LoadProfile.csv"):
            for shape in SHAPES:
                yearly_h[shape] += float(row[f"{shape}_pload"]) / STEPS_A_HOUR
            age = datetime.strptime(row["time"], "%d.%m.%Y %H:%M") - MONDAY
            if 0 <= age.days < DAYS:
                cells = [row[f"{shape}_{kind}load"] for shape in SHAPES for kind in "pq"]
                week.append([int(age.total_seconds()), *cells])
        counts = Counter(
            (row["profile"], round(float(row["pLoad"]) * 1e6), round(float(row["qLoad"]) * 1e6))
            for row in rows_of(wheel, "Load.csv")
            if row["profile"] in SHAPES
        )
    if len(week) != DAYS * 24 * STEPS_A_HOUR:
        raise SystemExit(f"{path}: {len(week)} rows in the week of {MONDAY:%Y-%m-%d}, expected 672")
    write_rows(
        "simbench_h0_winter_week.csv",
        ("t_s", *(f"{shape}_{kind}_pu" for shape in SHAPES for kind in "pq")),
        week,
    )
    write_rows(
        "simbench_h0_winter_week.customers.csv",
        ("shape", "p_nominal_w", "q_nominal_var", "yearly_wh", "customers"),
        ((s, p, q, round(p * yearly_h[s]), count) for (s, p, q), count in sorted(counts.items())),
    )


if __name__ == "__main__":
    main(sys.argv[1])
