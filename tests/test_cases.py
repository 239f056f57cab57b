"""Play every case folder under tests/cases: the folder tree is the test list."""

from pathlib import Path

import pytest
from cases.case_expect import judge
from cases.case_file import folders, read_case
from cases.case_world import play

# the pains of the users of today's open tools: each must be some case's, by name
PAINS = {
    "a limit exceeded when a car joins",
    "a limit exceeded when the controller restarts",
    "first-come instead of sharing",
    "more power after a meter is lost",
    "more power after a link is lost",
    "0 W read as no limit",
    "hunting around 6 A",
    "unused amps not passed on",
    "phase mix-ups",
    "a fail-safe that never leaves",
    "a fail-safe that leaves on a heartbeat alone",
    "230 V assumed where 245 V is measured",
}


def cases() -> list:
    """Return a parameter for each folder; a known bug is a strict xfail with its reason."""
    return [
        pytest.param(
            folder,
            id=folder.name,
            marks=[pytest.mark.xfail(reason=why, strict=True)] if (why := read_case(folder).xfail) else [],
        )
        for folder in folders()
    ]


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    case = read_case(folder)
    failures = judge(case, play(case))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_case_can_fail(folder: Path) -> None:
    """A case that also holds without control, or with its `[counter]` plan, proves nothing."""
    case = read_case(folder)
    if case.counter:
        spoiled = read_case(folder, case.counter)
        assert judge(spoiled, play(spoiled)), "holds with the counter-plan too"
    else:
        assert judge(case, play(case, controlled=False)), "holds without control too"


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_case_says_its_pain_and_its_reference(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert text.startswith("# ")
    assert "**Pain:** " in text and "**Reference:** " in text, f"{folder.name}/README.md"


def test_every_pain_has_a_case() -> None:
    told = "".join((folder / "README.md").read_text() for folder in folders())
    assert not {pain for pain in PAINS if f"**Pain:** {pain}" not in told}


def test_a_case_that_is_wrong_is_refused_by_name(tmp_path: Path) -> None:
    good = """
        [setting]
        for_s = 1
        [[node]]
        name = "head"
        [[charger]]
        name = "a"
        [[expect]]
        at_s = 0
        allowed_a = {a = 0}
    """
    for text, says in [
        (good.replace("for_s", "for_min"), "for_min"),
        (good.replace("[[expect]]", "[[expects]]"), "expect"),
        (good + "[[windows]]\n", "windows"),
        (good.replace('name = "a"', 'name = "a"\nnode = "no"'), "'no' is not in list"),
    ]:
        (tmp_path / "case.toml").write_text(text)
        with pytest.raises(ValueError, match=says):
            read_case(tmp_path)
    (tmp_path / "case.toml").write_text(good.replace("allowed_a", "alowed_a"))
    case = read_case(tmp_path)
    with pytest.raises(ValueError, match=r"expect\[0\].alowed_a; known"):
        judge(case, play(case))
