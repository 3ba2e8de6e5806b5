"""Keys that sign packages: Ed25519 (RFC 8032), with `cryptography`."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from exporter.errors import PackageError
from runtimes.signature import KIND_ED25519, key_id, message_of


def new_keys(private: Path) -> Path:
    """Make a key pair: the private key at this path, the public one beside it as .pub.

    Only the owner can read the private key; it is unencrypted PKCS #8 PEM. Gives the public one's
    path.

    Raises:
        PackageError: a file of either name is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.with_name(f"{private.name}.pub")
    line = base64.b64encode(key.public_key().public_bytes_raw()) + b"\n"
    _write_new(public, line, 0o644)
    try:
        _write_new(private, pem, 0o600)
    except PackageError:
        public.unlink()
        raise
    return public


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{path.parent} is a file") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        _make_parent(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
    except FileExistsError:
        raise PackageError(
            f"{path} is there already",
            expected="no key of that name",
            found="a file",
            remedy="name another; a key that is lost cannot be made again",
        ) from None
    except OSError as error:
        raise PackageError(f"{path} cannot be written", found=str(error)) from None


def sign(unsigned: bytes, private: Path) -> bytes:
    """Sign a package that says in its flags that it is signed: append the signature's block.

    Raises:
        PackageError: the key cannot be read, or is no Ed25519 key.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise PackageError(
            f"{private} cannot be read",
            expected="a private key as `edgewright keys new` writes it",
            found=str(error),
            remedy="make one with `edgewright keys new`",
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PackageError(
            f"{private} is a key of another kind",
            expected="Ed25519",
            found=type(key).__name__,
            remedy="make one with `edgewright keys new`",
        )
    public = key.public_key().public_bytes_raw()
    package = unsigned + bytes([KIND_ED25519]) + key_id(public) + bytes(64)
    return package[:-64] + key.sign(message_of(package))
