"""Enters an arm64 root: ROOT CPU COUNT FOLDER=PLACE... COMMAND..., in namespaces of its own.

Runs under `unshare --mount --propagation private --pid --fork`, so every mount here is gone with
the process. Only the kernel's list of programs that qemu runs (binfmt_misc) is the whole machine's:
qemu-aarch64 is added to it where it is missing, as installing qemu-user-static does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from exporter.verify import boards

BINFMT = Path("/proc/sys/fs/binfmt_misc")
EMPTY = ("tmp", "run", "home", "mnt")


def call(program: str, *arguments: str, check: bool = True) -> None:
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is missing")
    subprocess.run([path, *arguments], check=check, timeout=60)


def mount(*arguments: str) -> None:
    call("mount", *arguments)


def hand_arm64_programs_to_qemu() -> None:
    if not (BINFMT / "register").exists():
        mount("-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    if not (BINFMT / "qemu-aarch64").exists():
        # Another entry may be quicker: what counts is that it is there afterwards.
        call("update-binfmts", "--enable", "qemu-aarch64", check=False)
    if not (BINFMT / "qemu-aarch64").exists():
        raise SystemExit("the kernel does not hand arm64 programs to qemu: see update-binfmts(8)")


def mount_system(root: Path, board: boards.Board) -> None:
    """/proc of the new process namespace, /dev of the machine, and the board's own files."""
    for name in ("proc", "dev", "sys", *EMPTY):
        (root / name).mkdir(exist_ok=True)
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("--rbind", "/dev", str(root / "dev"))
    for name in ("sys", *EMPTY):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / name))
    for name in ("tmp", "mnt"):
        (root / name).chmod(0o1777)
    for folder, owner in (("run/sshd", 0), ("home/pi", 1000)):
        (root / folder).mkdir(mode=0o755)
        os.chown(root / folder, owner, owner)
    for path, text in board.files():
        if path.startswith("sys/"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        else:
            # The mount holds the file itself, so that its name can go at once.
            with tempfile.NamedTemporaryFile("w", dir=root / "run") as stream:
                stream.write(text)
                stream.flush()
                Path(stream.name).chmod(0o644)
                mount("--bind", stream.name, str(root / path))


def bind(root: Path, source: Path, place: str) -> None:
    target = root / place.lstrip("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount("--bind", str(source), str(target))


def main(root: Path, cpu: str, count: int, rest: list[str]) -> None:
    hand_arm64_programs_to_qemu()
    board = next(found for found in (boards.PI_3, boards.PI_4, boards.PI_5) if found.cpu == cpu)
    mount_system(root, board)
    for pair in rest[:count]:
        source, _, place = pair.partition("=")
        bind(root, Path(source), place)
    os.chroot(root)
    os.chdir("/")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "QEMU_CPU": cpu}
    os.execve(rest[count], rest[count:], environment)  # noqa: S606 - there is no shell to go through


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
