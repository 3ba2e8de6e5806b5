"""Packs model files for download: `pack` here, the format and its reader in `runtimes`."""

from __future__ import annotations

from exporter.pack.encode import GroupSummary, Options, PackSummary, encode, pack
from exporter.pack.keys import new_keys
from exporter.pack.streams import ORDINARY, PORTABLE, Device

__all__ = [
    "ORDINARY",
    "PORTABLE",
    "Device",
    "GroupSummary",
    "Options",
    "PackSummary",
    "encode",
    "new_keys",
    "pack",
]
