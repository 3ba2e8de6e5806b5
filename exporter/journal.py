"""Which stages of a build are finished, by content: what `--resume` goes by.

A stage is finished when its key (a hash of everything that it depends on) is the same as before and
each file that it wrote is there with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from exporter.build import Frozen, save_json, sha256_of

JOURNAL = ".stages.json"


class Entry(Frozen):
    """One finished stage: its key, its files' hashes, and figures that later stages show."""

    key: str
    files: dict[str, str]
    figures: dict[str, float] = Field(default_factory=dict)


class _Entries(Frozen):
    stages: dict[str, Entry] = Field(default_factory=dict)


class Journal:
    """The finished stages of one build directory."""

    def __init__(self, directory: Path, *, resume: bool) -> None:
        self._directory = directory
        self._path = directory / JOURNAL
        self._entries = self._load() if resume else {}

    def _load(self) -> dict[str, Entry]:
        try:
            return dict(_Entries.model_validate_json(self._path.read_bytes()).stages)
        except (OSError, ValidationError):
            return {}  # nothing that can be trusted: every stage is done anew

    def finished(self, stage: str, key: str) -> Entry | None:
        """The entry of a stage that need not be done again."""
        entry = self._entries.get(stage)
        if entry is None or entry.key != key:
            return None
        for name, digest in entry.files.items():
            path = self._directory / name
            if not path.is_file() or sha256_of(path) != digest:
                return None
        return entry

    def record(
        self, stage: str, key: str, files: Sequence[Path], figures: dict[str, float]
    ) -> Entry:
        """Note that a stage is finished."""
        hashes = {str(path.relative_to(self._directory)): sha256_of(path) for path in files}
        entry = Entry(key=key, files=hashes, figures=figures)
        self._entries[stage] = entry
        save_json(self._path, _Entries(stages=self._entries))
        return entry


def key_of(*parts: Any) -> str:
    """A key for everything that a stage depends on; parts must be JSON or have `str`."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
