"""The name of a package's original: a reader makes a file of it, so it must not lead elsewhere."""

from __future__ import annotations

from typing import Final

from runtimes.untrusted import Cursor, damaged

MAX_NAME_BYTES: Final = 255


def name_fault(name: str) -> str | None:
    """Why `name` cannot be the original's name in a package; None if it can.

    A plain, visible file name on every system: the reader creates a file of this name.
    """
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        return f"it must be 1 to {MAX_NAME_BYTES} bytes long"
    if name.startswith("."):
        return "it starts with a dot"
    bad = sorted({char for char in name if char in '/\\:*?"<>|' or not char.isprintable()})
    return f"it contains {''.join(bad)!r}" if bad else None


def read_name(cursor: Cursor) -> str:
    """The name of a package's original.

    Raises:
        PackageError: it is no plain file name.
    """
    raw = bytes(cursor.take(cursor.varint()))
    try:
        name = raw.decode("utf-8")
        fault = name_fault(name)
    except UnicodeDecodeError:
        fault = "it is no UTF-8"
    if fault is not None:
        raise damaged(
            "the original's name is refused",
            expected="a plain file name",
            found=f"{raw!r}: {fault}",
        )
    return name
