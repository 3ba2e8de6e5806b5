"""Packs model files for download: `pack` here, the format and its reader in `runtimes`."""

from __future__ import annotations

from exporter.pack.encode import GroupSummary, PackSummary, encode, pack

__all__ = ["GroupSummary", "PackSummary", "encode", "pack"]
