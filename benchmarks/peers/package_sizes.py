"""Runs in the peers' environment: prints how many bytes a peer takes.

python package_sizes.py zstd FILE
python package_sizes.py bsdiff4 OLD NEW

"""

from __future__ import annotations

import sys
from pathlib import Path


def main(peer: str, *paths: str) -> None:
    """Print the size."""
    contents = [Path(path).read_bytes() for path in paths]
    if peer == "zstd":
        import zstandard  # type: ignore[import-not-found]

        print(len(zstandard.ZstdCompressor(level=19).compress(contents[0])))
    elif peer == "bsdiff4":
        import bsdiff4  # type: ignore[import-not-found]

        print(len(bsdiff4.diff(contents[0], contents[1])))
    else:
        raise SystemExit(f"unknown peer: {peer}")


if __name__ == "__main__":
    main(*sys.argv[1:])
