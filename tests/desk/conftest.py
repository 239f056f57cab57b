"""Seat a test at a desk on filled images, and compare pictures with golden ones."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # read when textual is imported
os.environ.pop("NO_COLOR", None)

from desk_street import NOW_NS, write_figures, write_site

from controller.desk.app import Desk
from controller.runtime.site import Site
from controller.runtime.window import Window

GOLDEN = Path(__file__).parent / "golden"
SIZE = (150, 26)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose images are filled."""
    written = write_site(tmp_path)
    write_figures(written)
    return written


@pytest.fixture
def window(site: Site, tmp_path: Path) -> Window:
    """Return a window on that site."""
    return Window.attach(tmp_path / "site.json")


class Posted:
    """Take orders instead of a mailbox."""

    def __init__(self) -> None:
        self.orders: list[tuple] = []

    def __call__(self, kind, index, value_a=float("nan"), until_s=float("nan"), owner="operator") -> None:
        self.orders.append((kind, index, value_a, until_s, owner))


@pytest.fixture
def posted() -> Posted:
    """Return a mailbox that remembers."""
    return Posted()


@pytest.fixture
def seat(window: Window, posted: Posted) -> Callable[..., Desk]:
    """Return what plays a scene at a desk: `seat(scene, keys...)`; the clock stands `late_s` after the last scan."""

    def play(
        scene: Callable[..., Awaitable[None]], late_s: float = 0.0, read_only: bool = False, first: str = "chargers"
    ):
        desk = Desk(window, None if read_only else posted, lambda: NOW_NS + int(late_s * 1e9), first)

        async def run() -> None:
            async with desk.run_test(size=SIZE) as pilot:
                await pilot.pause()
                await scene(desk, pilot)

        asyncio.run(run())
        return desk

    return play


@pytest.fixture
def golden(tmp_path: Path):
    """Compare a picture with its golden one; VOLTBENCH_GOLDEN=write writes it anew."""

    def compare(name: str, svg: str) -> None:
        path = GOLDEN / f"{name}.svg"
        if os.environ.get("VOLTBENCH_GOLDEN") == "write":
            path.write_text(svg, encoding="utf-8")
        assert path.exists(), f"{path}: no golden picture; VOLTBENCH_GOLDEN=write makes it"
        if svg != path.read_text(encoding="utf-8"):
            seen = tmp_path / path.name
            seen.write_text(svg, encoding="utf-8")
            raise AssertionError(f"the {name} screen has changed: compare {seen} with {path}")

    return compare
