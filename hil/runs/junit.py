"""Write junit.xml from verdicts, for CI servers: failed is a failure, unproven is skipped with its reason."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from hil.runs.promises import FAILED, PASSED, Verdict


def write_junit(
    run_dir: Path,
    suite: str,
    verdicts: Sequence[Verdict],
    seconds: float,
    properties: Mapping[str, object] | None = None,
) -> Path:
    """Write `junit.xml` into the run folder and return its path.

    `suite` names the rig, `seconds` is how long the scenario ran, `properties` say what was tested (identities).
    """
    failures = sum(verdict.state == FAILED for verdict in verdicts)
    skipped = sum(verdict.state not in (PASSED, FAILED) for verdict in verdicts)
    counts = {"tests": str(len(verdicts)), "failures": str(failures), "skipped": str(skipped), "errors": "0"}
    root = ET.Element("testsuites", counts)
    node = ET.SubElement(root, "testsuite", {"name": suite, "time": f"{seconds:.3f}", **counts})
    if properties:
        listed = ET.SubElement(node, "properties")
        for name, value in properties.items():
            ET.SubElement(listed, "property", {"name": name, "value": _clean(str(value))})
    for verdict in verdicts:
        case = ET.SubElement(node, "testcase", {"classname": f"voltbench.{suite}", "name": verdict.name, "time": "0"})
        message = _clean(f"{verdict.value:g} {verdict.unit}, limit {verdict.limit:g} {verdict.unit}: {verdict.text}")
        if verdict.state == FAILED:
            ET.SubElement(case, "failure", {"message": message, "type": "verdict"}).text = message
        elif verdict.state != PASSED:
            ET.SubElement(case, "skipped", {"message": f"{verdict.state}: {message}"})
        else:
            ET.SubElement(case, "system-out").text = message
    path = run_dir / "junit.xml"
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def _clean(value: str) -> str:
    """Drop what XML 1.0 forbids: a device's identity may hold control characters."""
    return "".join(c for c in value if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) <= 0xFFFD)
