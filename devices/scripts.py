"""The shell scripts that a remote device runs: plain POSIX, as dash, busybox, mksh and bash know.

Every script ends with a line `MARK status`: an exit code that came through the link itself could
be the link's own (ssh's 255), and adb without shell_v2 carries none at all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = "edgewright-"


@dataclass(frozen=True)
class Answer:
    """What came back before and after the mark; `status` is the script's exit code."""

    before: bytes
    status: int
    after: bytes


def keeper(parent: str, mark: str) -> str:
    """Make a private directory in `parent`, tell it, and remove it at a line or the end of stdin.

    Stdin ends when the link does, for whatever reason; old adb brings lines, but no end. What
    still runs there is killed first: each command has left the number of its process group in a
    file `.pid.*`.
    """
    return f"""
umask 077
cd {shlex.quote(parent)} || exit 1
d=$(mktemp -d "$PWD/{PREFIX}XXXXXXXX") || exit 1
trap '' HUP INT TERM PIPE
printf '%s 0 %s\\n' {mark} "$d"
read -r end
{_sweep('"$d"')}
"""


def sweep(workdir: str, mark: str) -> str:
    """Do now what the keeper of a lost link does, perhaps, later."""
    return f"{_sweep(shlex.quote(workdir))}\nprintf '%s 0\\n' {mark}\n"


def _sweep(quoted: str) -> str:
    # A second round, for what the first one's victims were starting.
    return f"""
for round in 1 2; do
  for f in {quoted}/.pid.*; do
    if [ -f "$f" ]; then p=$(cat "$f"); kill -9 "-$p" 2>/dev/null || kill -9 "$p" 2>/dev/null; fi
  done
  rm -rf {quoted}
done"""


def command(argv: Sequence[str], *, workdir: str, stdin: str, token: str, mark: str) -> str:
    """Run a command in the work directory: its stdout, the mark, its stderr.

    The command leads a process group of its own where the device has setsid: what it leaves
    running ends with it. Where the disk is too full to note that group, it does not start, and
    its stderr would not fit either: said in its place is what the kernel says.
    """
    quoted = shlex.join(argv)
    return f"""
cd {shlex.quote(workdir)} || exit 1
printf %s {shlex.quote(stdin)} | $(command -v setsid) sh -c 'echo $$ >.pid.{token} && exec "$@"' \
sh {quoted} 2>.err.{token}
s=$?
kill -9 "-$(cat .pid.{token})" 2>/dev/null
printf '\\n%s %s\\n' {mark} "$s"
cat .err.{token}
[ -s .pid.{token} ] || echo 'No space left on device'
rm -f .err.{token} .pid.{token}
"""


def stop(workdir: str, token: str, mark: str) -> str:
    """Kill a command of `command`, and what it started."""
    files = f"{shlex.quote(workdir)}/.pid.{token}"
    return f"""
p=$(cat {files} 2>/dev/null) && {{ kill -9 "-$p" 2>/dev/null || kill -9 "$p" 2>/dev/null; }}
rm -f {files} {shlex.quote(workdir)}/.err.{token}
printf '%s 0\\n' {mark}
"""


def receive(target: str, mark: str) -> str:
    """Write stdin to a file."""
    return f"cat >{shlex.quote(target)}; printf '%s %s\\n' {mark} $?"


def settle(part: str, target: str, size_bytes: int, mode: str, mark: str) -> str:
    """Give a file that has arrived its name if it has arrived whole, and else remove it.

    What was wrong is printed.
    """
    part, target = shlex.quote(part), shlex.quote(target)
    return f"""
if [ "$(wc -c <{part})" -eq {size_bytes} ]; then chmod {mode} {part} && mv -f {part} {target} 2>&1
else echo "$(wc -c <{part}) bytes arrived"; df -k {part}; rm -f {part}; false; fi
printf '%s %s\\n' {mark} $?
"""


def send(source: str, mark: str) -> str:
    """Print a file, and the mark behind it."""
    return f"cat {shlex.quote(source)}; printf '\\n%s %s\\n' {mark} $?"


def find_answer(output: bytes, mark: str) -> Answer | None:
    """Cut what a script printed at its mark; None if there is none, for the link broke."""
    pattern = rb"\n?" + re.escape(mark.encode()) + rb" (\d+)\r?\n?"
    match = re.search(pattern, output)
    if match is None:
        return None
    return Answer(output[: match.start()], int(match[1]), output[match.end() :])
