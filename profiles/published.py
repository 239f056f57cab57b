"""Load what pilots published, to stand beside our own figures."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from profiles.errors import ProfileError

PATH = Path(__file__).parent / "sessions" / "flexpower_published.toml"


@dataclass(frozen=True, slots=True)
class Published:
    """Hold the published shares of sessions of one pilot by group of cars: (positive, negative), 0..1."""

    title: str
    source: str
    verified: str
    shares: dict[str, tuple[float, float]]


def load_published(path: Path = PATH) -> dict[str, Published]:
    """Return the published figures by contract; a ProfileError tells what is wrong with the file."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: Published(
                entry["title"],
                entry["source"],
                entry["verified"],
                {
                    group: (float(row["positive_share"]), float(row["negative_share"]))
                    for group, row in entry.items()
                    if isinstance(row, dict)
                },
            )
            for name, entry in raw.items()
        }
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
