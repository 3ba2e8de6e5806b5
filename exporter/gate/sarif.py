"""The verdict as SARIF 2.1.0, which code scanning shows at the budget's own lines.

One result a failure: https://docs.oasis-open.org/sarif/sarif/v2.1.0/. What is kept is no result.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

from exporter.build import write_bytes
from exporter.gate.text import explanation, printable
from exporter.gate.verdict import Line, Verdict

__all__ = ["to_sarif", "write_sarif"]

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(verdict: Verdict) -> str:
    """The document as text. No time in it: the same verdict gives the same bytes."""
    rules = list(dict.fromkeys(line.limit for line in verdict.failures))
    driver = {
        "name": "edgewright",
        "version": metadata.version("edgewright"),
        "rules": [_rule(rule, verdict) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "results": [_result(line, verdict, rules) for line in verdict.failures],
        "columnKind": "unicodeCodePoints",
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_sarif(verdict: Verdict, path: Path) -> None:
    """Write the document, whole or not at all."""
    write_bytes(path, to_sarif(verdict).encode())


def _rule(limit: str, verdict: Verdict) -> dict[str, Any]:
    remedy = next((line.remedy for line in verdict.failures if line.limit == limit), "")
    rule: dict[str, Any] = {
        "id": _rule_id(limit),
        "shortDescription": {"text": printable(f"The release keeps the budget's {limit}")},
        "defaultConfiguration": {"level": "error"},
    }
    return rule | ({"help": {"text": printable(remedy)}} if remedy else {})


def _rule_id(limit: str) -> str:
    return printable(limit).replace(" ", "-")


def _result(line: Line, verdict: Verdict, rules: list[str]) -> dict[str, Any]:
    same = f"{line.artifact}\n{line.title}".encode(errors="replace")
    return {
        "ruleId": _rule_id(line.limit),
        "ruleIndex": rules.index(line.limit),
        "level": "error",
        "message": {"text": f"{printable(line.artifact)}, {explanation(line)}"},
        "locations": [_location(line, verdict)],
        # What makes two runs' results one alert: the file and the limit, not the measured value.
        "partialFingerprints": {"edgewright/v1": hashlib.sha256(same).hexdigest()},
        "properties": {
            "artifact": printable(line.artifact),
            "limit": line.limit_value,
            "measured": line.measured,
            "over": line.over,
            "unit": line.unit,
        },
    }


def _location(line: Line, verdict: Verdict) -> dict[str, Any]:
    """The limit's line of the budget, line 1 where it is not known."""
    path = PurePath(verdict.budget or "budget.toml")
    # A reference that begins with a slash could not be told from one to another host's root.
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    physical = {
        "artifactLocation": {"uri": uri},
        "region": {"startLine": line.budget_line or 1},
    }
    logical = {"name": printable(line.artifact), "kind": "resource"}
    return {"physicalLocation": physical, "logicalLocations": [logical]}
