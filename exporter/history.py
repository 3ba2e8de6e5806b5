"""A local history of builds: size, accuracy and latency of what each run made, in SQLite.

Several runs may write at once: each appends one release in one transaction, and a writer waits for
another's. Write-ahead logging is not used, since it does not work on network file systems.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.build import SCHEMA_VERSION, Frozen
from exporter.errors import BuildError
from exporter.gate.evidence import Evidence
from exporter.gate.text import printable
from exporter.gate.units import BYTES, SHARE
from exporter.report.summary import build_rows, is_float, shown, time_text

__all__ = ["HISTORY", "History", "Release", "ReleaseFile", "open_history", "render", "to_json"]

HISTORY: Final = "edgewright-history.sqlite"

_VERSION: Final = 1
_WAIT_S: Final = 30.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS releases (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, built TEXT NOT NULL, added TEXT NOT NULL,
    directory TEXT NOT NULL, passed INTEGER
);
CREATE TABLE IF NOT EXISTS files (
    release INTEGER NOT NULL REFERENCES releases(id), place INTEGER NOT NULL,
    label TEXT NOT NULL, artifact TEXT NOT NULL, sha256 TEXT NOT NULL,
    file_bytes INTEGER NOT NULL, package_bytes INTEGER, accuracy REAL, device TEXT NOT NULL,
    p50_ms REAL, p90_ms REAL, peak_memory_bytes INTEGER, steady INTEGER NOT NULL,
    PRIMARY KEY (release, place)
);
"""
_FIELDS: Final = (
    "label, artifact, sha256, file_bytes, package_bytes, accuracy, device, p50_ms, p90_ms, "
    "peak_memory_bytes, steady"
)


class ReleaseFile(Frozen):
    """One file of a release, as `exporter.report.summary` has it; None for what is not known."""

    label: str
    artifact: str
    sha256: str
    file_bytes: int
    package_bytes: int | None
    accuracy: float | None
    device: str
    p50_ms: float | None
    p90_ms: float | None
    peak_memory_bytes: int | None
    steady: bool


class Release(Frozen):
    """One build. `passed` is None where no budget was held against it."""

    id: int
    name: str
    built: str
    directory: str
    passed: bool | None
    files: tuple[ReleaseFile, ...]


class History:
    """The database at `path`; it is made with the first release.

    Raises:
        BuildError: by every method: the file is no history, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, directory: Path, *, passed: bool | None = None) -> int:
        """Add the build in a directory; gives its number."""
        evidence = Evidence(directory)
        hashes = {artifact.path: artifact.sha256 for artifact in evidence.manifest.artifacts}
        rows = build_rows(evidence)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            added = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = evidence.manifest
            cursor = database.execute(
                "INSERT INTO releases (name, built, added, directory, passed)"
                " VALUES (?, ?, ?, ?, ?)",
                (manifest.name, manifest.created, added, str(directory), passed),
            )
            number = cursor.lastrowid or 0
            for place, row in enumerate(rows):
                values = row.model_dump() | {"sha256": hashes.get(row.artifact, "")}
                file = ReleaseFile(**{key: values[key] for key in ReleaseFile.model_fields})
                database.execute(
                    f"INSERT INTO files (release, place, {_FIELDS})"  # noqa: S608 - constants
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (number, place, *file.model_dump().values()),
                )
        return number

    def releases(self, *, name: str = "", last: int = 50) -> tuple[Release, ...]:
        """The last builds of each name, or of one, the oldest first."""
        if not self.path.is_file():
            raise BuildError(
                f"there is no history at {self.path}",
                expected=f"an {HISTORY} beside the build directories",
                found="no such file",
                remedy="`edgewright run` writes it; or name the directory that holds it",
            )
        with self._open() as database:
            found = database.execute(
                "SELECT id, name, built, directory, passed FROM ("
                " SELECT *, row_number() OVER (PARTITION BY name ORDER BY id DESC) AS age"
                " FROM releases WHERE ? IN ('', name)) WHERE age <= ? ORDER BY id",
                (name, last),
            ).fetchall()
            return tuple(_release(database, row) for row in found)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction: it holds the database from its start, so that nobody writes between."""
        try:
            database = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        try:
            database.execute("BEGIN IMMEDIATE")
            self._prepare(database)
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        finally:
            database.close()  # what was not committed is undone

    def _prepare(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == _VERSION:
            return
        if version != 0:
            raise BuildError(
                f"{self.path} is of another version",
                expected=f"version {_VERSION}",
                found=f"version {version}",
                remedy="use the edgewright that wrote it, or move the file away",
            )
        for statement in filter(None, map(str.strip, _TABLES.split(";"))):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")

    def _damaged(self, error: sqlite3.Error) -> BuildError:
        return BuildError(
            f"the history {self.path} cannot be used",
            expected="a SQLite file that can be read and written",
            found=str(error),
            remedy="move it away: the next run begins a new one",
        )


def open_history(path: Path) -> History:
    """The history in a file, or in a directory as HISTORY."""
    return History(path / HISTORY if path.is_dir() else path)


def _release(database: sqlite3.Connection, row: tuple[int, str, str, str, int | None]) -> Release:
    number, name, built, directory, passed = row
    files = database.execute(
        f"SELECT {_FIELDS} FROM files WHERE release = ? ORDER BY place",  # noqa: S608 - constants
        (number,),
    ).fetchall()
    return Release(
        id=number,
        name=name,
        built=built,
        directory=directory,
        passed=None if passed is None else bool(passed),
        files=tuple(
            ReleaseFile(**dict(zip(ReleaseFile.model_fields, file, strict=True))) for file in files
        ),
    )


def to_json(releases: Sequence[Release]) -> str:
    """One JSON document."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "releases": [release.model_dump(mode="json") for release in releases],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def render(releases: Sequence[Release]) -> Table:
    """A table for a terminal: a line for each int8 file, the newest last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in ("#", "build", "built", "gate", "file"):
        table.add_column(column, justify="right" if column == "#" else "left", no_wrap=True)
    for column in ("accuracy", "size", "package", "p50", "p90", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for release in releases:
        gate = {None: "", True: "✓", False: "✗"}[release.passed]
        built = printable(release.built)[:16].replace("T", " ")
        heads = (str(release.id), printable(release.name), built, gate)
        for file in (file for file in release.files if not is_float(file.label)):
            table.add_row(
                *map(Text, heads),
                Text(printable(file.label)),
                shown(file.accuracy, SHARE),
                shown(file.file_bytes, BYTES),
                shown(file.package_bytes, BYTES),
                time_text(file.p50_ms, steady=file.steady),
                time_text(file.p90_ms, steady=file.steady),
                shown(file.peak_memory_bytes, BYTES),
            )
            heads = ("", "", "", "")
    return table
