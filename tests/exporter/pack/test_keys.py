from __future__ import annotations

import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from exporter.errors import PackageError
from exporter.pack import Options, encode, new_keys, pack
from exporter.pack.keys import sign
from runtimes.signature import check_trusted
from runtimes.unpack import Demands, load_keys, unpack


def test_a_new_pair_signs_and_is_trusted(tmp_path):
    public = new_keys(tmp_path / "keys" / "release")
    assert public == tmp_path / "keys" / "release.pub"
    assert stat.S_IMODE((tmp_path / "keys" / "release").stat().st_mode) == 0o600
    (tmp_path / "a.bin").write_bytes(b"content")
    pack(tmp_path / "a.bin", tmp_path / "a.ewp", Options(key=tmp_path / "keys" / "release"))
    (tmp_path / "a.bin").unlink()
    restored = unpack(tmp_path / "a.ewp", demands=Demands(load_keys([public])))
    assert restored.read_bytes() == b"content"


@pytest.mark.parametrize("taken", ["k", "k.pub"])
def test_a_key_is_never_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(PackageError, match="there already"):
        new_keys(tmp_path / "k")
    assert (tmp_path / taken).read_text() == "precious"
    assert [one.name for one in tmp_path.iterdir()] == [taken]


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED: root may write everywhere")
def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PackageError, match="cannot be written"):
        new_keys(tmp_path / "k")


def test_a_key_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PackageError, match="cannot be written"):
        new_keys(tmp_path / "file" / "k")


@pytest.mark.parametrize("content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_private_key_says_so(tmp_path, content):
    if content is not None:
        (tmp_path / "k").write_bytes(content)
    with pytest.raises(PackageError, match="cannot be read") as caught:
        sign(b"", tmp_path / "k")
    assert "keys new" in caught.value.remedy


def test_a_key_of_another_kind_says_so(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "k").write_bytes(pem)
    with pytest.raises(PackageError, match="another kind"):
        sign(b"", tmp_path / "k")


def test_a_key_with_a_passphrase_says_so(tmp_path):
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "k").write_bytes(pem)
    with pytest.raises(PackageError, match="cannot be read") as caught:
        sign(b"", tmp_path / "k")
    assert "encrypted" in caught.value.found


def test_two_pairs_are_not_one(tmp_path):
    first, second = new_keys(tmp_path / "a"), new_keys(tmp_path / "b")
    package, _ = encode(b"x", "x.bin", Options(key=tmp_path / "a"))
    check_trusted(package, load_keys([first]))
    with pytest.raises(PackageError):
        check_trusted(package, load_keys([second]))
