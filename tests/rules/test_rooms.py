"""The house keeps its rules: rooms say what is forbidden, arrows hold, files stay short, documents tell the truth."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import ENVIRONMENT, ROOT, VOLTBENCH

ROOMS = ("controller", "instruments", "profiles", "hil")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"(?P<mark><!-- not run[^>]*-->\s*)?^```console\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<target>[^)#\s]+)")
MAX_LINES = 400


def sources():
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(page: Path) -> list[str]:
    """Return the voltbench commands of a page's console blocks, but for blocks that are marked as not run."""
    return [
        line.removeprefix("$ ").partition(" #")[0].strip()
        for block in BLOCK.finditer(page.read_text())
        if not block["mark"]
        for line in block["body"].splitlines()
        if line.startswith("$ voltbench ")
    ]


@pytest.mark.parametrize("path", [p for p in sources() if p.name == "__init__.py"], ids=name_of)
def test_every_room_says_what_it_is_for_and_what_is_forbidden_in_it(path):
    tree = ast.parse(path.read_text())
    text = ast.get_docstring(tree)
    assert text is not None
    assert "Forbidden here:" in text
    assert len(text.split()) > 15
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body), "an import here loads the room"


def test_no_module_is_too_long_to_read():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_says_what_it_does():
    missing = [name_of(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert missing == []


def test_the_arrows_between_the_rooms_hold():
    tool = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout
    assert " 0 broken" in ended.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_to_files(page):
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_there_are_commands_to_run():
    assert any(commands(page) for page in PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_of_a_page_do_what_it_says(page, tmp_path):
    for command in commands(page):
        argv = [*VOLTBENCH, *command.split()[1:]]
        ended = subprocess.run(argv, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert ended.returncode in (0, 4), f"$ {command}\n{ended.stdout}{ended.stderr}"
        assert ended.stdout, command
