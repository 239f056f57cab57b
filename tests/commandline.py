"""Call the command line as a user does, and write a rig as TOML: what several folders of tests share."""

import json
import os
import sys
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VOLTBENCH = [sys.executable, "-m", "hil.cli"]
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
TOO_BUSY = "this host is too busy, run it again"  # says a run whose controller was not ready as the scenario began
RigFile = dict[str, Any]


def too_busy(said: str) -> bool:
    """Say whether a run told that its host had no time for it: a process, or all of them, not ready in time."""
    return TOO_BUSY in said or ": not ready after " in said


def toml_value(value: Any) -> str:
    """Write one value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if isinstance(value, str) else str(value)


def toml_text(rig: RigFile) -> str:
    """Write a rig as TOML, one table a section; deeper tables are written inline."""
    lines = [f"{key} = {toml_value(part)}" for key, part in rig.items() if not _is_section(part)]
    for name, part in rig.items():
        if not _is_section(part):
            continue
        for table in part if isinstance(part, list) else [part]:
            lines.append(f"[[{name}]]" if isinstance(part, list) else f"[{name}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _is_section(part: Any) -> bool:
    return isinstance(part, dict) or (isinstance(part, list) and bool(part) and isinstance(part[0], dict))
