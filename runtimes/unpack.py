"""Restores the original file from a .ewp package: `python -m runtimes.unpack F.ewp [-o OUT]`.

The file appears under its name only once its SHA-256 has matched.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from runtimes import container, decode
from runtimes.errors import PackageError
from runtimes.untrusted import damaged


def unpack(
    package: Path,
    target: Path | None = None,
    *,
    overwrite: bool = False,
    ceiling_bytes: int = container.DEFAULT_CEILING_BYTES,
) -> Path:
    """Write the original file of a package and give its path.

    Args:
        package: the .ewp file.
        target: where the original goes: a file, or a directory that exists. Without it, under its
            original name beside the package.
        overwrite: replace another file that is there already.
        ceiling_bytes: refuse an original file larger than this.

    Raises:
        PackageError: the package is damaged or hostile, cannot be read, or the target holds
            something else. No file is written then.
    """
    parsed = container.read(_load(package, ceiling_bytes), ceiling_bytes=ceiling_bytes)
    path = _target(package, target, parsed.name)
    try:
        if path.exists() and not overwrite and not _holds(path, parsed):
            raise PackageError(
                f"{path} is there already, with other content",
                expected="no file, or the same file",
                found=f"{path.stat().st_size} bytes",
                remedy="name another target, remove it, or ask to overwrite it",
            )
        content = decode.restore(parsed)
        _write(path, content)
    except OSError as error:
        raise PackageError(
            f"{path} cannot be written", found=str(error), remedy="name another target"
        ) from None
    return path


def _load(package: Path, ceiling_bytes: int) -> bytes:
    """The package's bytes, unless there are more than an original of the ceiling could need."""
    limit = ceiling_bytes + container.MAX_HEADER_BYTES
    try:
        size_bytes = package.stat().st_size
        data = package.read_bytes() if size_bytes <= limit else b""
    except OSError as error:
        raise PackageError(
            f"{package} cannot be read",
            expected="a .ewp package",
            found=str(error),
            remedy="name a package that exists",
        ) from None
    if size_bytes > limit:
        raise damaged(
            f"{package} is too large for a package",
            expected=f"at most {limit} bytes",
            found=f"{size_bytes}",
        )
    return data


def _target(package: Path, target: Path | None, name: str) -> Path:
    if target is None:
        path = package.with_name(name)
    else:
        path = target / name if target.is_dir() else target
    if path.resolve() == package.resolve():
        raise PackageError(
            f"the original file would replace its own package {package}",
            expected="another name or directory",
            found=str(path),
            remedy="name a target",
        )
    return path


def _holds(path: Path, parsed: container.Package) -> bool:
    """Whether the original file is there already."""
    if not path.is_file() or path.stat().st_size != parsed.size_bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.digest() == parsed.sha256


def _write(path: Path, content: bytearray) -> None:
    """Write the file, whole or not at all."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # a device may lose power right after the rename
        os.replace(temporary, path)
    finally:
        if temporary.exists():
            temporary.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: print the path of the restored file, or the reason why there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m runtimes.unpack", description="Restore the original file of a .ewp package."
    )
    parser.add_argument("package", type=Path, help="the .ewp file")
    parser.add_argument("-o", "--output", type=Path, help="file or directory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace another file")
    options = parser.parse_args(arguments)
    try:
        print(unpack(options.package, options.output, overwrite=options.overwrite))
    except PackageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
