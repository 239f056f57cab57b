"""Print what a benchmark measured itself: pytest-benchmark's table knows no percentiles and no misses."""

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write every benchmark's own figures below the table."""
    session = getattr(config, "_benchmarksession", None)
    for benchmark in session.benchmarks if session is not None else []:
        terminalreporter.write_line("")
        terminalreporter.write_line(benchmark.name)
        for line in figures(benchmark.extra_info):
            terminalreporter.write_line(f"  {line}")


def figures(info: dict[str, Any]) -> Iterator[str]:
    """Yield a line a figure; a nested table is one line."""
    for name, value in info.items():
        if isinstance(value, dict):
            yield f"{name}: " + "  ".join(f"{key} {_short(inner)}" for key, inner in value.items())
        else:
            yield f"{name}: {_short(value)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
