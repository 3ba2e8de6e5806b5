"""Ed25519 signatures of packages, checked with the standard library alone.

RFC 8032, section 5.1, and its notation. A device need have neither `cryptography` nor a compiler,
so the check is here: it handles nothing secret, which is why it may take its time and branch as it
likes. Signing is the workstation's (`exporter.pack.keys`), with `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

from runtimes.container import FLAG_SIGNED, FLAGS_AT, MAGIC, SIGNATURE_BYTES, VERSION
from runtimes.errors import PackageError

DOMAIN: Final = b"edgewright package 2\0"  # so that no signature of anything else is one of these
KIND_ED25519: Final = 1
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_M1: Final = pow(2, (_P - 1) // 4, _P)


def message_of(package: bytes) -> bytes:
    """What is signed of a package: everything but the 64 bytes of the signature itself."""
    return DOMAIN + hashlib.sha512(memoryview(package)[:-64]).digest()


def key_id(public: bytes) -> bytes:
    """The short name of a public key."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


def parse_key(text: str) -> bytes:
    """A public key as `edgewright keys new` writes it: base64 of 32 bytes.

    Raises:
        PackageError: it is none.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise PackageError(
            "this is no public key",
            expected=f"{KEY_BYTES} bytes in base64, on one line",
            found=repr(text[:80]),
            remedy="name the .pub file that `edgewright keys new` wrote",
        )
    return key


def check_trusted(package: bytes, keys: Sequence[bytes]) -> None:
    """Refuse a package that none of these public keys signed. Nothing in it is decoded.

    Raises:
        PackageError: the package is unsigned, signed by another key, or altered.
    """
    whole = len(package) > FLAGS_AT + SIGNATURE_BYTES
    if not whole or package[: FLAGS_AT - 1] != MAGIC or package[FLAGS_AT - 1] != VERSION:
        raise _untrusted(
            "this is no package that could be trusted", f"a signed package of version {VERSION}"
        )
    if not package[FLAGS_AT] & FLAG_SIGNED:
        raise _untrusted("the package is not signed", "a signature by a trusted key")
    block = package[-SIGNATURE_BYTES:]
    named = block[1 : 1 + KEY_ID_BYTES]
    matching = [key for key in keys if key_id(key) == named]
    if block[0] != KIND_ED25519 or not matching:
        raise _untrusted(
            "the package is signed by a key that is not trusted",
            "one of " + (", ".join(key_id(key).hex() for key in keys) or "no keys"),
            named.hex(),
        )
    message = message_of(package)
    if not any(verify(key, message, block[-64:]) for key in matching):
        raise _untrusted("the package is altered: its signature does not match", "the bytes signed")


def _untrusted(problem: str, expected: str, found: str = "") -> PackageError:
    remedy = "fetch the package again from its publisher; do not install this one"
    return PackageError(problem, expected=expected, found=found, remedy=remedy)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature is good (RFC 8032, 5.1.7, without cofactors)."""
    if len(public) != KEY_BYTES or len(signature) != 64:
        return False
    key, nonce = _decompressed(public), _decompressed(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or nonce is None or scalar >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % _L
    return _same(_times(scalar, _BASE), _plus(nonce, _times(challenge, key)))


def _plus(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The sum of two points (RFC 8032, 5.1.4)."""
    left = (a[1] - a[0]) * (b[1] - b[0]) % _P
    right = (a[1] + a[0]) * (b[1] + b[0]) % _P
    both = 2 * a[3] * b[3] * _D % _P
    twice = 2 * a[2] * b[2] % _P
    e, f, g, h = right - left, twice - both, twice + both, right + left
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _plus(total, point)
        point = _plus(point, point)
        scalar >>= 1
    return total


def _same(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 and (a[1] * b[2] - b[1] * a[2]) % _P == 0


def _decompressed(encoded: bytes) -> tuple[int, int, int, int] | None:
    """The point that 32 bytes encode (RFC 8032, 5.1.3); None if there is none."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _base_point() -> tuple[int, int, int, int]:
    y = 4 * pow(5, _P - 2, _P) % _P
    point = _decompressed(y.to_bytes(32, "little"))
    assert point is not None  # noqa: S101 - the curve's own base point
    return point


_BASE: Final = _base_point()
