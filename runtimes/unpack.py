"""Restores the original file from a .ewp package: `python -m runtimes unpack F.ewp [-o OUT]`.

The file appears under its name only once its SHA-256 has matched.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtimes import container, decode, signature
from runtimes.errors import PackageError
from runtimes.untrusted import damaged


@dataclass(frozen=True)
class Demands:
    """What a package must fulfil before it is decoded.

    Attributes:
        trusted: public keys, 32 bytes each: one of them must have signed it. None asks for no
            signature; an empty tuple trusts nobody.
        newer_than: its release must be above this number. An attacker can only be kept from going
            back to an old release if the package must be signed too.
        ceiling_bytes: the original file must not be larger than this.
    """

    trusted: tuple[bytes, ...] | None = None
    newer_than: int | None = None
    ceiling_bytes: int = container.DEFAULT_CEILING_BYTES


NO_DEMANDS: Final = Demands()


def unpack(
    package: Path,
    target: Path | None = None,
    *,
    base: Sequence[Path] = (),
    overwrite: bool = False,
    demands: Demands = NO_DEMANDS,
) -> Path:
    """Write the original file of a package and give its path.

    Args:
        package: the .ewp file.
        target: where the original goes: a file, or a directory that exists. Without it, under its
            original name beside the package.
        base: for a delta package, the file that it builds on: that file, or a chain of packages
        that
            gives it, the full one first.
        overwrite: replace another file that is there already.
        demands: what the package, and any package among `base`, must fulfil.

    Raises:
        PackageError: the package is damaged, hostile or not trusted, cannot be read, or the target
            holds something else. No file is written then.
    """
    parsed = _parsed(_load(package, demands.ceiling_bytes), demands, newest=True)
    path = _target(package, target, parsed.name)
    try:
        if path.exists() and not overwrite and not _holds(path, parsed):
            raise PackageError(
                f"{path} is there already, with other content",
                expected="no file, or the same file",
                found=f"{path.stat().st_size} bytes",
                remedy="name another target, remove it, or ask to overwrite it",
            )
        content = decode.restore(parsed, load_base(base, demands))
        _write(path, content)
    except OSError as error:
        raise PackageError(
            f"{path} cannot be written", found=str(error), remedy="name another target"
        ) from None
    return path


def load_base(links: Sequence[Path], demands: Demands = NO_DEMANDS) -> bytes | None:
    """The file that a delta builds on: a file as it is, or what a chain of packages restores.

    Raises:
        PackageError: a file cannot be read, or a package does not restore.
    """
    content: bytes | None = None
    for link in links:
        data = _load(link, demands.ceiling_bytes)
        if data[: len(container.MAGIC)] == container.MAGIC:
            data = bytes(decode.restore(_parsed(data, demands, newest=False), content))
        content = data
    return content


def _parsed(data: bytes, demands: Demands, *, newest: bool) -> container.Package:
    """A package that fulfils the demands; only the newest of a chain must be a new release."""
    if demands.trusted is not None:
        signature.check_trusted(data, demands.trusted)
    parsed = container.read(data, ceiling_bytes=demands.ceiling_bytes)
    if newest and demands.newer_than is not None:
        _check_release(parsed.release, demands.newer_than)
    return parsed


def _check_release(release: int | None, newer_than: int) -> None:
    if release is None or release <= newer_than:
        raise PackageError(
            "the package is no newer release",
            expected=f"a release above {newer_than}",
            found="no release number" if release is None else f"release {release}",
            remedy="fetch the latest package, or pack the file with a higher --release",
        )


def _load(package: Path, ceiling_bytes: int) -> bytes:
    """The package's bytes, unless there are more than an original of the ceiling could need."""
    limit = ceiling_bytes + container.MAX_HEADER_BYTES
    try:
        size_bytes = package.stat().st_size
        data = package.read_bytes() if size_bytes <= limit else b""
    except OSError as error:
        raise PackageError(
            f"{package} cannot be read",
            expected="a .ewp package, or for a delta its base",
            found=str(error),
            remedy="name a file that exists",
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
        prog="edgewright-unpack", description="Restore the original file of a .ewp package."
    )
    parser.add_argument("package", type=Path, help="the .ewp file")
    parser.add_argument("-o", "--output", type=Path, help="file or directory to write")
    parser.add_argument(
        "--base",
        type=Path,
        action="append",
        default=[],
        help="for a delta: the file before it; again for each package that leads to that file",
    )
    parser.add_argument(
        "--trust",
        type=Path,
        action="append",
        metavar="PUB",
        help="refuse packages that this public key did not sign; again for each key that may",
    )
    parser.add_argument("--newer-than", type=int, metavar="N", help="refuse releases up to N")
    parser.add_argument("--overwrite", action="store_true", help="replace another file")
    options = parser.parse_args(arguments)
    try:
        demands = Demands(load_keys(options.trust), options.newer_than)
        restored = unpack(
            options.package,
            options.output,
            base=options.base,
            overwrite=options.overwrite,
            demands=demands,
        )
    except PackageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(restored)
    return 0


def load_keys(paths: Sequence[Path] | None) -> tuple[bytes, ...] | None:
    """The public keys of these files; None where nobody asked for any.

    Raises:
        PackageError: a file cannot be read or holds no public key.
    """
    if paths is None:
        return None
    keys = []
    for path in paths:
        try:
            keys.append(signature.parse_key(path.read_text(encoding="ascii")))
        except (OSError, UnicodeDecodeError) as error:
            raise PackageError(
                f"{path} cannot be read",
                expected="the .pub file that `edgewright keys new` wrote",
                found=str(error),
            ) from None
    return tuple(keys)


if __name__ == "__main__":
    sys.exit(main())
