"""Makes an arm64 Debian root that runs under qemu: a Raspberry Pi's files on another machine.

A root holds Debian 12's Python 3.11, the packages that its recipe names, and wheels for aarch64 in
folders of their own, so that interpreters that need different versions of numpy stand side by side.
It is made once for a recipe (10 to 30 s, from Debian's and PyPI's servers), is then found under the
recipe's key, and must not be written to. There are two ways to run programs of it:

- A single process, without any privilege: `prefix` gives the argv that starts the root's Python
  under `qemu-aarch64-static -L`, in a view of the root with the board's own /proc and /sys files.
- A whole system, such as an sshd that starts other programs: chroot into it inside a mount
  namespace. That needs the superuser and a kernel that hands arm64 programs to qemu (binfmt_misc).
  Name the CPU in QEMU_CPU there: left to itself, qemu takes its newest, and gets its newest
  instructions wrong. `tests/arm64.py` does it for the tests; its recipe has an OpenSSH server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from exporter.errors import INSTALL_EXPORT, EmulationError
from exporter.verify.boards import Board

SUITE: Final = "bookworm"
PYTHON: Final = "3.11"  # the suite's
GLIBC_MINORS: Final = range(17, 37)  # of wheels that run there: the suite has glibc 2.36
QEMU: Final = "qemu-aarch64-static"
TIMEOUT_S: Final = 900
RUNTIMES: Final = "opt/runtimes"


@dataclass(frozen=True)
class Target:
    """A folder of the root with wheels in it: to be put on PYTHONPATH."""

    folder: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A text file of the root; `path` is below it."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Recipe:
    """What goes into a root beside Python and the C++ library."""

    packages: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    files: tuple[File, ...] = ()

    @property
    def key(self) -> str:
        """Differs wherever the content does."""
        return hashlib.sha256(f"{SUITE} {self!r}".encode()).hexdigest()[:12]


def runtimes_target() -> Target:
    """Both interpreters in the versions that this Python has, and their numpy.

    Raises:
        EmulationError: one of them is not installed here.
    """
    names = ("ai-edge-litert", "onnxruntime")
    try:
        wanted = tuple(f"{name}=={metadata.version(name)}" for name in names)
    except metadata.PackageNotFoundError as error:
        raise EmulationError(
            "the interpreters to emulate are unknown",
            found=str(error),
            remedy=INSTALL_EXPORT,
        ) from None
    return Target(RUNTIMES, wanted)


def default_cache() -> Path:
    """Where roots are kept for later: XDG's folder for what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "edgewright")


def find_tool(name: str, package: str) -> str:
    """The path of a program.

    Raises:
        EmulationError: it is not installed; names the Debian package that has it.
    """
    found = shutil.which(name)
    if found is None:
        raise EmulationError(
            f"{name} is missing",
            expected=f"the program {name} on PATH",
            remedy=f"apt-get install {package} (Debian, Ubuntu)",
        )
    return found


def make_root(cache: Path, recipe: Recipe) -> Path:
    """Give the root of a recipe, making it where it is not there yet.

    Several processes may ask at once: one makes it, the others wait.

    Args:
        cache: the folder that roots are kept in.
        recipe: what the root holds.

    Raises:
        EmulationError: a tool is missing, or Debian's or PyPI's packages cannot be had.
    """
    root = cache / f"arm64-{recipe.key}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(root.with_suffix(".lock")):
        if not root.is_dir():
            scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=cache))
            try:
                _fill(scratch, recipe)
                scratch.rename(root)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return root


def check_root(root: Path) -> None:
    """Refuse a folder that is no root to run the interpreters in.

    Raises:
        EmulationError: Python or the interpreters are not in it.
    """
    for path in (f"usr/bin/python{PYTHON}", f"{RUNTIMES}/numpy"):
        if not (root / path).exists():
            raise EmulationError(
                f"{root} is no arm64 root",
                expected=f"{path} in it",
                found="no such file",
                remedy="leave --root out to have one made",
            )


def make_view(root: Path, board: Board, folder: Path) -> Path:
    """Fill an empty folder with links to a root, and with a board's own /proc and /sys files."""
    own = {"proc", "sys"}
    for entry in root.iterdir():
        if entry.name not in own:
            (folder / entry.name).symlink_to(entry.resolve())
    for path, text in board.files():
        _write(folder, File(path, text))
    return folder


def prefix(view: Path, board: Board, target: str = RUNTIMES) -> list[str]:
    """The argv that runs the Python of a view (see `make_view`) as if on the board.

    Paths that are not in the view are this machine's: the program reads and writes them as usual.

    Raises:
        EmulationError: qemu is missing.
    """
    settings = {"PYTHONPATH": str(view / target), "PYTHONNOUSERSITE": "1"}
    return [
        find_tool(QEMU, "qemu-user-static"),
        *("-cpu", board.cpu),
        *("-L", str(view)),
        *(part for name, value in settings.items() for part in ("-E", f"{name}={value}")),
        str(view / "usr" / "bin" / f"python{PYTHON}"),
    ]


def _fill(root: Path, recipe: Recipe) -> None:
    """Bootstrap Debian, then add the wheels and files. No program of the root is run."""
    root.chmod(0o755)  # users of the root other than its maker come in, too
    mmdebstrap = find_tool("mmdebstrap", "mmdebstrap debian-archive-keyring")
    tar = find_tool("tar", "tar")
    packages = ("python3", "libstdc++6", *recipe.packages)
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        archive = str(Path(folder, "root.tar"))
        # As an archive, so that the files come to belong to whoever makes the root.
        options = ["--variant=extract", "--arch=arm64", "--skip=check/qemu", "--quiet"]
        options += ['--aptopt=Acquire::Retries "3"', f"--include={','.join(packages)}"]
        _call([mmdebstrap, *options, SUITE, archive], "Debian's packages cannot be had")
        _call([tar, "-xf", archive, "-C", str(root), "--exclude=./dev/*"], "it cannot be unpacked")
    for target in recipe.targets:
        _install(root / target.folder, target.requirements)
    for file in recipe.files:
        _write(root, file)


def _install(folder: Path, requirements: tuple[str, ...]) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    pip += [*platforms, "--platform=manylinux2014_aarch64", f"--python-version={PYTHON}"]
    _call([*pip, "--only-binary=:all:", *requirements], "the interpreters cannot be had")


def _write(root: Path, file: File) -> None:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.text, encoding="utf-8")
    path.chmod(file.mode)


def _call(argv: list[str], problem: str) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise EmulationError(
            f"the arm64 root cannot be made: {problem}", found=f"no end within {TIMEOUT_S} s"
        ) from None
    if done.returncode != 0:
        raise EmulationError(
            f"the arm64 root cannot be made: {problem}",
            expected=f"'{' '.join(argv[:3])} ...' to succeed",
            found=done.stderr.strip()[-400:],
            remedy="see that the network is there, or name a root with --root",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for; the system frees it when this one ends."""
    import fcntl

    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
