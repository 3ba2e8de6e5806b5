"""Memory that a process has freed, given back to the system.

The C library keeps what was freed for later, in pieces between what is still in use; behind a
calibration that is a tenth of all memory, on top of which the next step would build its own.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory where the C library can (glibc's malloc_trim); nothing elsewhere."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return
    trim.argtypes = [ctypes.c_size_t]
    trim(0)
