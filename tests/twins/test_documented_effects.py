"""Hold the page about the SCPI twins to its promise: every effect says where it comes from."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "emulation.md"
SOURCES = {"standard", "manual", "driver", "measurement", "assumption"}


def rows() -> list[list[str]]:
    """Return the cells of the table in the section about SCPI twins."""
    section = PAGE.read_text(encoding="utf-8").split("## SCPI twins")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_effect_of_a_scpi_twin_has_a_source_and_says_what_it_is() -> None:
    found = rows()
    assert len(found) >= 20
    assert [row[0] for row in found if len(row) != 3 or row[1] not in SOURCES or not row[2]] == []
