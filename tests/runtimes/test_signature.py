from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack import Options, encode, new_keys
from runtimes import container
from runtimes.errors import PackageError
from runtimes.signature import KEY_ID_BYTES, check_trusted, key_id, parse_key, verify
from runtimes.unpack import Demands, load_keys, unpack

# RFC 8032, 7.1: public key, message, signature of tests 1 to 3 and of "SHA(abc)".
VECTORS = {
    "test 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "test 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "test 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
        "c6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3fe"
        "ebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431"
        "e0303dca179c138ac17ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("vector", VECTORS)
def test_the_vectors_of_rfc_8032(vector):
    public, message, signature = map(bytes.fromhex, VECTORS[vector])
    assert verify(public, message, signature)
    assert not verify(public, message + b"x", signature)


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("place", range(0, 512, 37))
def test_an_altered_signature_is_none(vector, place):
    public, message, signature = map(bytes.fromhex, VECTORS[vector])
    altered = bytearray(signature)
    altered[place // 8] ^= 1 << place % 8
    assert not verify(public, message, bytes(altered))


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=100))
@settings(max_examples=30, deadline=None)
def test_what_cryptography_signs_is_good(seed, message):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verify(public, message, signature)
    assert not verify(public, message + b"\0", signature)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    assert verify(other, message, signature) == (other == public)


def test_a_scalar_beyond_the_order_is_refused():
    """Otherwise anyone could make a second signature out of one (RFC 8032, 8.4)."""
    public, message, signature = map(bytes.fromhex, VECTORS["test 2"])
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not verify(public, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "encoded",
    [
        (2**255 - 19).to_bytes(32, "little"),  # y is not below p
        (2).to_bytes(32, "little"),  # no point has this y
        (1 | 1 << 255).to_bytes(32, "little"),  # x is 0, and said to be odd
        b"short",
    ],
)
def test_what_is_no_point_is_no_key(encoded):
    assert not verify(encoded, b"", bytes(64))
    good, message, signature = map(bytes.fromhex, VECTORS["test 1"])
    if len(encoded) == 32:
        assert not verify(good, message, encoded + signature[32:])


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: (folder / name, new_keys(folder / name)) for name in ("ours", "theirs")}


def trusted(keys, *names):
    return load_keys([keys[name][1] for name in names])


@pytest.fixture(scope="module")
def signed(keys):
    return encode(b"the file" * 50, "a.bin", Options(release=5, key=keys["ours"][0]))[0]


def test_a_trusted_key_is_enough(keys, signed):
    check_trusted(signed, trusted(keys, "ours"))
    check_trusted(signed, trusted(keys, "theirs", "ours"))
    assert container.read(signed).signed
    assert container.read(signed).release == 5


@pytest.mark.parametrize("names", [(), ("theirs",)])
def test_a_foreign_package_is_refused(keys, signed, names):
    with pytest.raises(PackageError, match="not trusted") as caught:
        check_trusted(signed, trusted(keys, *names))
    assert key_id(trusted(keys, "ours")[0]).hex() == caught.value.found


def test_an_unsigned_package_is_refused(keys):
    with pytest.raises(PackageError, match="not signed"):
        check_trusted(encode(bytes(range(256)), "a.bin")[0], trusted(keys, "ours"))


@pytest.mark.parametrize("size", [0, 1, 5, 6, 70, 78])
def test_less_than_a_package_is_refused(keys, signed, size):
    with pytest.raises(PackageError, match="no package"):
        check_trusted(signed[:size], trusted(keys, "ours"))


def test_every_altered_bit_is_refused(keys, signed):
    key = trusted(keys, "ours")
    for place in range(0, 8 * len(signed), 13):
        altered = bytearray(signed)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(PackageError):
            check_trusted(bytes(altered), key)


def test_a_signature_does_not_hide_that_the_flag_was_taken_away(keys, signed):
    """Without the flag the signature would be payload."""
    bare = bytearray(signed)
    bare[container.FLAGS_AT] &= ~container.FLAG_SIGNED
    with pytest.raises(PackageError, match="not signed"):
        check_trusted(bytes(bare), trusted(keys, "ours"))


def test_nothing_is_decoded_before_the_signature_is_good(keys, signed, tmp_path, monkeypatch):
    monkeypatch.setattr(container, "read", None)
    (tmp_path / "a.ewp").write_bytes(signed)
    with pytest.raises(PackageError, match="not trusted"):
        unpack(tmp_path / "a.ewp", demands=Demands(trusted(keys, "theirs")))
    assert [one.name for one in tmp_path.iterdir()] == ["a.ewp"]


def test_a_signature_of_something_else_is_no_packages(keys, signed):
    """A signature of the package's bytes alone lacks the domain."""
    from exporter.pack import keys as keyring

    message = keyring.message_of(signed)
    assert message.startswith(b"edgewright package 2\0")
    assert len(message) == 21 + 64


@pytest.mark.parametrize("newer_than", [0, 4])
def test_a_newer_release_is_taken(signed, tmp_path, newer_than):
    (tmp_path / "a.ewp").write_bytes(signed)
    assert unpack(tmp_path / "a.ewp", demands=Demands(newer_than=newer_than)).exists()


@pytest.mark.parametrize("newer_than", [5, 6, 1 << 40])
def test_no_way_back_to_an_older_release(signed, tmp_path, newer_than):
    (tmp_path / "a.ewp").write_bytes(signed)
    with pytest.raises(PackageError, match="no newer release") as caught:
        unpack(tmp_path / "a.ewp", demands=Demands(newer_than=newer_than))
    assert "release 5" in caught.value.found
    assert not (tmp_path / "a.bin").exists()


def test_a_package_without_a_release_is_no_newer_one(tmp_path):
    (tmp_path / "a.ewp").write_bytes(encode(b"x", "a.bin")[0])
    with pytest.raises(PackageError, match="no newer release"):
        unpack(tmp_path / "a.ewp", demands=Demands(newer_than=0))


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(33)).decode()])
def test_what_is_no_public_key_says_so(tmp_path, text):
    with pytest.raises(PackageError, match="no public key"):
        parse_key(text)
    (tmp_path / "k.pub").write_text(text)
    with pytest.raises(PackageError, match="no public key"):
        load_keys([tmp_path / "k.pub"])


def test_a_key_that_is_missing_says_so(tmp_path):
    with pytest.raises(PackageError, match="cannot be read"):
        load_keys([tmp_path / "none.pub"])
    (tmp_path / "binary.pub").write_bytes(b"\xff\xfe")
    with pytest.raises(PackageError, match="cannot be read"):
        load_keys([tmp_path / "binary.pub"])
    assert load_keys(None) is None
    assert len(key_id(bytes(32))) == KEY_ID_BYTES
