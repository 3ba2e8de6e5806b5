"""The verdict as JUnit XML, which every CI server shows: one test case a line."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from exporter.build import write_bytes
from exporter.gate.text import explanation, printable
from exporter.gate.verdict import Line, Verdict

__all__ = ["to_junit", "write_junit"]


def to_junit(verdict: Verdict) -> str:
    """The document as text. No time or host in it: the same verdict gives the same bytes."""
    counts = {
        "tests": str(len(verdict.lines)),
        "failures": str(len(verdict.failures)),
        "errors": "0",
        "time": "0",
    }
    suites = ET.Element("testsuites", {"name": "edgewright check", **counts})
    suite = ET.SubElement(
        suites, "testsuite", {"name": printable(verdict.name), **counts, "skipped": "0"}
    )
    for line in verdict.lines:
        _add_case(suite, line)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, "unicode") + "\n"


def write_junit(verdict: Verdict, path: Path) -> None:
    """Write the document, whole or not at all."""
    write_bytes(path, to_junit(verdict).encode())


def _add_case(suite: ET.Element, line: Line) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        {"classname": printable(line.artifact), "name": printable(line.title), "time": "0"},
    )
    if line.passed:
        return
    failure = ET.SubElement(
        case, "failure", {"type": printable(line.limit), "message": printable(line.reason)}
    )
    failure.text = explanation(line)
