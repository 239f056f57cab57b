"""Find out whether the package `instruments` of this environment is ours: InstrumentKit's has the same name."""

import importlib.util
from importlib import metadata
from pathlib import Path

OTHERS = ("instrumentkit",)
ADVICE = "install voltbench into an environment of its own"


def foreign_instruments() -> str:
    """Return what is wrong with the package `instruments`, or an empty text; imports nothing of it."""
    spec = importlib.util.find_spec("instruments")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None or not (folder / "catalog.py").is_file():
        where = f"at {folder} " if folder else ""
        return f"the package instruments {where}is not voltbench's (InstrumentKit's has the same name); {ADVICE}"
    for name in OTHERS:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        detail = "its package is named instruments too, and one hides the other"
        return f"{name} {version} is installed here: {detail}; {ADVICE}"
    return ""
