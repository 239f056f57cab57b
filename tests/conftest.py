"""Hand out the street's rig file as data to change, a writer for it, and the command line as a user calls it."""

import copy
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import ENVIRONMENT, ROOT, VOLTBENCH, RigFile, toml_text


@pytest.fixture(scope="session")
def street_text() -> RigFile:
    return tomllib.loads((ROOT / "profiles" / "rigs" / "street.toml").read_text())


@pytest.fixture
def street(street_text: RigFile) -> RigFile:
    """Return the street as a dict of its own."""
    return copy.deepcopy(street_text)


@pytest.fixture(scope="session")
def hamlet(street_text: RigFile) -> RigFile:
    """Return a street of three chargers, one of each family, the last one on the bench: quick to settle and start."""
    rig = copy.deepcopy(street_text)
    kept = ["cp01", "cp08", "cp16"]
    rig["rig"]["name"] = "hamlet"
    rig["charger"] = [charger for charger in rig["charger"] if charger["name"] in kept]
    rig["scenario"]["settle_s"] = 300.0
    for part in [*rig["contract"], *rig["scenario"]["events"]]:
        if "chargers" in part:
            part["chargers"] = [name for name in part["chargers"] if name in kept]
    return rig


@pytest.fixture
def write_rig(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a rig into the test's folder and returns its path."""

    def write(rig: RigFile | str, name: str = "bad.toml") -> Path:
        path = tmp_path / name
        path.write_text(rig if isinstance(rig, str) else toml_text(rig))
        return path

    return write


@pytest.fixture(scope="session")
def compiled(hamlet: RigFile, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile law and plant once, as a clean clone has to: no limit of a test may count that minute."""
    folder = tmp_path_factory.mktemp("compiled")
    rig = folder / "hamlet.toml"
    rig.write_text(toml_text(hamlet))
    argv = [*VOLTBENCH, "run", str(rig), "--fast", "--for", "1s", "--out", str(folder / "run")]
    subprocess.run(argv, cwd=folder, env=ENVIRONMENT, capture_output=True, timeout=600.0, check=False)


@pytest.fixture(scope="session")
def run_voltbench(
    compiled: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command in an empty folder (or in `cwd`) and returns how it ended."""
    empty = tmp_path_factory.mktemp("cwd")

    def run(*arguments: object, limit_s: float = 400.0, cwd: Path = empty) -> subprocess.CompletedProcess[str]:
        argv = [*VOLTBENCH, *map(str, arguments)]
        return subprocess.run(argv, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=limit_s)

    return run


@pytest.fixture
def serve_voltbench(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the command and leaves it running; what still runs at the end is ended."""
    started = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        with (tmp_path / "stderr.txt").open("w") as narration:
            process = subprocess.Popen(
                [*VOLTBENCH, *map(str, arguments)],
                cwd=tmp_path,
                env=ENVIRONMENT | {"TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=narration,
                text=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=120)
