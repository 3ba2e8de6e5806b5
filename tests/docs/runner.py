"""Runs a page of the documents as its reader would: files are written, commands and code run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from pages import Block, Step, blocks, missing_line, steps

from devices.config import load_devices
from exporter.errors import EdgewrightError
from exporter.gate import load_budget
from exporter.recipe import load_recipe

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 500
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MINIMAL = {
    "name": 'name = "minimal"',
    "model": '[model]\nfactory = "module:make"\nweights = "weights.pt"',
    "input": '[input]\nshape = "1x3x32x32"',
    "data": '[data]\ntrain = "module:train"\ntest = "module:test"',
}
"""What a part of a recipe needs to be one."""
VERSIONS = ["-c", "constraints.txt"]
"""What pip needs to install the versions that are tested."""


class PageError(AssertionError):
    """What a page says does not hold."""


@dataclass
class Runner:
    """One page in one workspace.

    Attributes:
        folder: where a reader would be: the root of a clone.
        ran: the commands that were run.
    """

    folder: Path
    ran: list[tuple[str, ...]] = field(default_factory=list)
    _place: Path = field(init=False)
    _status: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Start in the folder."""
        self._place = self.folder

    def page(self, path: Path) -> None:
        """Run every block of a page.

        Raises:
            PageError: with the page, the line, what it shows and what came.
        """
        for block in blocks(path):
            try:
                self._block(block)
            except PageError as error:
                raise PageError(f"{path.name}:{block.line}: {error}") from None

    def _block(self, block: Block) -> None:
        if block.name is not None:
            target = self._place / block.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._run((sys.executable, "-c", block.text), ())
        if block.language == "toml":
            _check_toml(block.text)
        if block.language in ("console", "sh", "bash"):
            for number, step in enumerate(found := steps(block)):
                after = found[number + 1].argv if number + 1 < len(found) else ()
                self._step(step, any_status=after == ("echo", "$?"))

    def _step(self, step: Step, *, any_status: bool) -> None:
        self.ran.append(step.argv)
        match step.argv:
            case ("cd", place):
                self._place = (self._place / place).resolve()
            case ("echo", "$?"):
                if step.output[:1] != (str(self._status),):
                    raise PageError(f"shows exit code {step.output}, found {self._status}")
            case ("make", *targets):  # running them would run this test again
                self._run(("make", "-n", *targets), (), place=ROOT)
            case ("edgewright", *rest):
                argv = (sys.executable, "-m", "exporter.cli", *rest)
                self._run(argv, step.output, any_status=any_status)
            case ("python", *rest):
                self._run((sys.executable, *rest), step.output, any_status=any_status)
            case ("pip", "install", *what):
                _check_install(what)
            case _:
                raise PageError(f"a command that no test can run: {' '.join(step.argv)}")

    def _run(
        self,
        argv: tuple[str, ...],
        shown: tuple[str, ...],
        *,
        any_status: bool = False,
        place: Path | None = None,
    ) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        done = subprocess.run(
            argv,
            cwd=place or self._place,
            env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        self._status = done.returncode
        printed = f"{done.stdout}\n{done.stderr}"
        if done.returncode != 0 and not any_status:
            raise PageError(f"{' '.join(argv)}: exit code {done.returncode}\n{printed[-3000:]}")
        missing = missing_line(shown, printed)
        if missing is not None:
            raise PageError(f"{' '.join(argv)} does not print: {missing!r}\n{printed[-3000:]}")


def _check_toml(text: str) -> None:
    """A TOML block is a file of devices, a budget, a recipe, or a part of a recipe, and is read."""
    try:
        tables = tomllib.loads(text)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "block.toml")
            file.write_text(text, encoding="utf-8")
            if any("address" in table for table in tables.values() if isinstance(table, dict)):
                load_devices(file)
            elif {"limits", "operators"} & set(tables):
                load_budget(file)
            else:
                rest = {key: lines for key, lines in MINIMAL.items() if key not in tables}
                name = rest.pop("name", "")  # a key of no table stands before them
                file.write_text("\n".join((name, text, *rest.values())), encoding="utf-8")
                load_recipe(file)
    except (EdgewrightError, tomllib.TOMLDecodeError) as error:
        raise PageError(f"is not read: {error}") from None


def _check_install(words: list[str]) -> None:
    """An install line names the tested versions, this folder, and extras that there are."""
    if words[:2] != VERSIONS:
        raise PageError(f"pip install {' '.join(words)}: expected {' '.join(VERSIONS)} first")
    for word in words[2:]:
        place, extras = parts_of(word)
        if place != "." or extras - set(PROJECT["optional-dependencies"]):
            raise PageError(f"pip install {word}: expected `.` with extras of pyproject.toml")


def parts_of(word: str) -> tuple[str, set[str]]:
    """The place and the extras of what pip installs, such as `.[export,examples]`."""
    place, _, extras = word.partition("[")
    return place, set(filter(None, extras.rstrip("]").split(",")))


def packages_of(extras: set[str]) -> set[str]:
    """The packages that an install with these extras names, those of the base included."""
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return {re.split(r"[^\w.-]", line)[0] for line in lines}
