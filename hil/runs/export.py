"""Hand a run's samples to other tools: one table, a row a sample and run, units beside it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hil.runs.trace import load_samples

SAMPLES = "samples.parquet"


class ExportError(ValueError):
    """Say which format is not known or which run has no samples."""


def export_samples(run_dir: Path, to: str, out: Path | None = None) -> list[Path]:
    """Write a run's samples in the format `to` (one of FORMATS) and return the files written.

    `out` is the file; by default it stands in the run folder as `samples.<format>`. csv comes with a second file of
    column, unit and meaning, since csv has no place for them. ExportError and TraceError say what cannot be read.
    """
    source = run_dir / SAMPLES
    if to not in FORMATS:
        raise ExportError(f"export: format {to!r} is not known; one of {', '.join(sorted(FORMATS))}")
    if not source.is_file():
        raise ExportError(f"{source}: not there; give the folder of a finished run")
    load_samples(source)  # refuse a foreign file before anything is written
    return FORMATS[to](source, out or run_dir / f"samples.{to}")


def _parquet(source: Path, target: Path) -> list[Path]:
    if target.resolve() != source.resolve():
        shutil.copyfile(source, target)
    return [target]


def _csv(source: Path, target: Path) -> list[Path]:
    table = pq.read_table(source)
    pa.csv.write_csv(table, target)
    units = target.with_suffix(".units.csv")
    described = [(entry.name, _meta(entry, b"unit"), _meta(entry, b"meaning")) for entry in table.schema]
    names, unit, meaning = zip(*described, strict=True)
    pa.csv.write_csv(pa.table({"column": list(names), "unit": list(unit), "meaning": list(meaning)}), units)
    return [target, units]


def _meta(entry: pa.Field, key: bytes) -> str:
    return str((entry.metadata or {}).get(key, b"").decode())


FORMATS: dict[str, Callable[[Path, Path], list[Path]]] = {"parquet": _parquet, "csv": _csv}
