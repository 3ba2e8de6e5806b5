"""Alters packages at random inside a memory limit: python fuzz_packages.py SEED COUNT FOLDER.

Prints how many were refused and how many restored their original. Altered packages are sealed
again, so that the checks behind the CRCs are met. Any error but a `PackageError`, a file that is
not the original, and a refusal for want of memory end it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import resource
import sys
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from exporter.pack import ORDINARY, PORTABLE, Device, Options, encode, huffman, rans
from exporter.pack.assemble import assemble, base_section, describe, seal
from exporter.pack.classes import code_matrices
from exporter.pack.methods import CodedGroup
from exporter.pack.moved import code_moved
from exporter.pack.streams import Coded, raw
from runtimes import coders, container, decode, untrusted
from runtimes.container import Base, Span
from runtimes.errors import PackageError

MODELS = Path(__file__).resolve().parents[1] / "exporter" / "pack" / "pack_models.py"
ROOM_MIB = 64
CEILING_BYTES = 1 << 20


def main(seed, count, folder):
    warnings.simplefilter("error")
    randomness = random.Random(seed)
    cases = []
    methods = set()
    for package, base, original in packages(folder):
        cases.append((*parts(package), base, original))
        assert restored(*cases[-1][:3]) == original
        methods |= {group.method for group in container.read(package).groups}
    assert methods == set(decode.METHOD_NAMES)
    limit_memory()
    outcomes = [one_of(cases[number % len(cases)], randomness) for number in range(count)]
    print(outcomes.count("refused"), outcomes.count("restored"))


def one_of(case, randomness):
    header, payload, base, original = case
    if randomness.random() < 0.5:
        header = altered(header, randomness)
    else:
        payload = altered(payload, randomness)
    try:
        content = restored(header, payload, base)
    except PackageError as error:
        if "more memory" in str(error):
            raise
        return "refused"
    assert content == original
    return "restored"


def restored(header, payload, base):
    parsed = container.read(sealed(header, payload), ceiling_bytes=CEILING_BYTES)
    return bytes(decode.restore(parsed, base))


def packages(folder):
    """Each with its base, or None, and its original: all methods and coders are among them."""
    models = pack_models()
    layers = models.make_layers(0.9, widths=(4, 8, 16), seed=1)
    old = models.tflite(layers)
    new = models.tflite([moved(layer) for layer in layers])
    twice = models.make_layers(0.5, widths=(4, 8, 8), seed=2)
    twice.append(twice[-1])  # the same tensors again
    other = models.onnx(twice)
    renamed = models.onnx_model(twice)
    renamed.producer_name = "a name where there was none"
    (folder / "other").write_bytes(other)
    (folder / "old").write_bytes(old)
    full, _ = encode(old, "a.tflite")
    delta, _ = encode(new, "a.tflite", Options(base=(folder / "old",)))
    yield full, None, old
    yield unsqueezed(full), None, old
    yield delta, old, new
    yield unsqueezed(delta), old, new
    yield encode(other, "a.onnx", Options(Device(brotli=True)))[0], None, other
    shifted = renamed.SerializeToString()
    patch, _ = encode(shifted, "a.onnx", Options(base=(folder / "other",)))
    yield patch, other, shifted
    yield unsqueezed(patch), other, shifted
    yield encode(old, "a.tflite", Options(PORTABLE))[0], None, old
    text = b"names of layers, and whatever else there is " * 3
    yield encode(text, "b.bin", Options(release=3))[0], None, text
    yield encode(b"", "c.bin")[0], None, b""
    yield from by_class()
    content = np.random.default_rng(0).geometric(0.2, 600).astype(np.uint8).tobytes()
    for number, coder in ((coders.CODER_HUFFMAN, huffman), (coders.CODER_RANS, rans)):
        yield one_stream(content, Coded(number, 600, coder.encode_stream(content))), None, content


def by_class():
    """Class rANS, whatever would be smaller, in full and as a difference."""
    random = np.random.default_rng(0)
    live = np.where(random.random((24, 1)) < 0.5, 0.05, 0.7)
    old = random.integers(-20, 20, (24, 32)) * (random.random((24, 32)) < live)
    new = old + (random.random((24, 32)) < 0.1) * random.integers(-2, 3, (24, 32))
    old, new = old.astype(np.int8).view(np.uint8), new.astype(np.int8).view(np.uint8)
    span = Span(0, new.size, new.shape, (0, 1), 1, 0)
    before = old.tobytes()
    section = base_section(Base(hashlib.sha256(before).digest(), len(before)), [span])
    in_full = (decode.METHOD_CLASSES, code_matrices([new], ORDINARY), [], None)
    moves = code_moved(new.reshape(-1), old.reshape(-1), ORDINARY)
    for method, streams, sections, base in (
        in_full,
        (decode.METHOD_MOVED, moves, [section], before),
    ):
        content = new.tobytes()
        head = describe("e.bin", "other", len(content), hashlib.sha256(content).digest())
        groups = [
            CodedGroup("skeleton", 1, decode.METHOD_FLAT, 0, (raw(b""),)),
            CodedGroup("weights", 1, method, len(content), streams),
        ]
        package = assemble(head, [span], groups, sections)
        yield package, base, content
        yield unsqueezed(package), base, content


def pack_models():
    spec = importlib.util.spec_from_file_location("pack_models", MODELS)
    module = sys.modules["pack_models"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def moved(layer):
    weights = np.where(layer.weights > 40, layer.weights - 1, layer.weights)
    return replace(layer, weights=weights, bias=layer.bias + 1)


def one_stream(content, stream):
    head = describe("d.bin", "other", len(content), hashlib.sha256(content).digest())
    return assemble(head, [], [CodedGroup("skeleton", 1, 0, len(content), (stream,))])


def unsqueezed(package):
    """The same package with every stream raw: what is altered then is what methods read."""
    parsed = container.read(package)
    groups = [
        CodedGroup(
            group.content,
            group.item_bytes,
            group.method,
            group.size_bytes,
            tuple(raw(decode.read_stream(stream)) for stream in group.streams),
        )
        for group in parsed.groups
    ]
    head = describe(parsed.name, parsed.format, parsed.size_bytes, parsed.sha256)
    return assemble(head, parsed.spans, groups, parsed.sections)


def altered(data, randomness):
    data = bytearray(data)
    for _ in range(randomness.choice((1, 1, 2, 8))):
        at = randomness.randrange(len(data) + 1)
        kind = randomness.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = randomness.choice((0, 1, 127, 128, 255, data[at] ^ 1))
        elif kind == 1:
            data[at:at] = randomness.choice((bytes(1), bytes([255] * 4 + [15]), b"1"))
        elif kind == 2:
            del data[at : at + randomness.randrange(5)]
        elif at < len(data):
            data[at] = randomness.randrange(256)
    return bytes(data)


def parts(package):
    """A package's header, inflated, and its payload."""
    view = memoryview(package)
    cursor = untrusted.Cursor(view, "package")
    header = container._read_preamble(cursor, view)
    return header, package[cursor.at :]


def sealed(header, payload):
    """A package of these, with the CRCs that they have now."""
    at = 1 + (header[0] if header else 0) + 1
    while at < len(header) and header[at] > 127:
        at += 1
    at += 1 + 32  # the last byte of the size, and the SHA-256
    crc = zlib.crc32(payload).to_bytes(4, "little")
    return seal(header[:at] + crc + header[at + 4 :]) + payload


def limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + (ROOM_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
