"""A device with nothing but Python's standard library."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.pack import ORDINARY, PORTABLE, Options, encode
from exporter.pack.inspection import is_portable
from exporter.pack.methods import CodedGroup, Source, code_group
from exporter.pack.streams import raw
from runtimes import arrays, container, decode, portable
from runtimes.container import Group, Package, Span, Stream
from runtimes.errors import PackageError

ROOT = Path(__file__).resolve().parents[2]


def sparse_bytes(size, seed=0):
    random = np.random.default_rng(seed)
    return (random.integers(1, 256, size) * (random.random(size) < 0.1)).astype(np.uint8).tobytes()


def job_of(coded, spans, size_bytes):
    """A job of one group beside an empty skeleton."""
    streams = tuple(
        Stream(one.coder, one.size_bytes, memoryview(one.stored)) for one in coded.streams
    )
    skeleton = Group("skeleton", 1, decode.METHOD_FLAT, (), (), 0)
    group = Group(
        coded.content, coded.item_bytes, coded.method, streams, tuple(spans), coded.size_bytes
    )
    package = Package(
        version=2,
        name="a",
        format="other",
        size_bytes=size_bytes,
        sha256=bytes(32),
        groups=(skeleton, group),
        spans=tuple(spans),
        sections=(),
        base=None,
        release=None,
        signed=False,
        header_bytes=0,
        package_bytes=0,
    )
    return decode.Job(package, group, bytearray(size_bytes), memoryview(b""))


@pytest.mark.parametrize("item_bytes", [1, 2, 4])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_both_readers_put_spans_in_the_same_places(order, item_bytes):
    shape = (3, 4, 5)
    size_bytes = 60 * item_bytes
    content = sparse_bytes(size_bytes)
    spans = [Span(2, size_bytes, shape, order, 1)]
    restored = []
    for put in (portable.put, lambda job, data: arrays.put(job, np.frombuffer(data, np.uint8))):
        job = job_of(_flat(content, item_bytes), spans, size_bytes + 5)
        put(job, content)
        restored.append(bytes(job.restored))
    assert restored[0] == restored[1]
    items = np.frombuffer(restored[0][2:-3], f"V{item_bytes}").reshape(shape).transpose(order)
    assert items.tobytes() == content


def _flat(content, item_bytes):
    return CodedGroup("weights", item_bytes, decode.METHOD_FLAT, len(content), (raw(content),))


@given(content=st.binary(min_size=1, max_size=400), kind=st.sampled_from(("weights", "floats")))
@settings(max_examples=60, deadline=None)
def test_any_portable_group_is_read_without_numpy(content, kind):
    item_bytes = 1 if kind == "weights" else 4
    coded = code_group(Source(kind, item_bytes, content * item_bytes), PORTABLE)
    size_bytes = len(content) * item_bytes
    job = job_of(coded, [Span(0, size_bytes, (len(content),), (0,), 1)], size_bytes)
    portable.METHODS[coded.method](job)
    assert bytes(job.restored) == content * item_bytes


def run_without_numpy(package, *options):
    script = (
        "import sys\n"
        "sys.modules['numpy'] = None\n"
        "from runtimes.unpack import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(package), *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


MODELS = ROOT / "tests" / "exporter" / "pack" / "pack_models.py"


@pytest.fixture(scope="module")
def model():
    """A small pruned .tflite file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("pack_models", MODELS)
    module = sys.modules.setdefault("pack_models", importlib.util.module_from_spec(spec))
    if not hasattr(module, "tflite"):
        spec.loader.exec_module(module)
    return module.tflite(module.make_layers(0.9, depthwise=True, widths=(16, 32, 64)))


def test_a_portable_package_needs_no_numpy(model, tmp_path):
    package, summary = encode(model, "a.tflite", Options(PORTABLE))
    assert is_portable(container.read(package))
    assert any(group.method.startswith("gap/value") for group in summary.groups)
    (tmp_path / "a.ewp").write_bytes(package)
    done = run_without_numpy(tmp_path / "a.ewp")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.tflite").read_bytes() == model
    assert bytes(decode.restore(container.read(package))) == model


def test_any_other_package_says_that_it_needs_numpy(model, tmp_path):
    package, _ = encode(model, "a.tflite", Options(ORDINARY))
    assert not is_portable(container.read(package))
    (tmp_path / "a.ewp").write_bytes(package)
    done = run_without_numpy(tmp_path / "a.ewp")
    assert done.returncode == 2
    assert "needs numpy" in done.stderr
    assert "--portable" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["a.ewp"]


@pytest.mark.parametrize(
    ("gaps", "values"),
    [
        (b"\3\0", b"ab"),
        (b"\xff", b""),
        (b"\0\0", b"a"),
        (b"\0\xff", b"ab"),
        (b"\0\0\0", b"ab"),
        (b"\0\0", b"abc"),
    ],
)
def test_gaps_that_lie_are_refused_here_too(gaps, values):
    coded = CodedGroup("weights", 1, decode.METHOD_SPLIT, 4, (raw(gaps), raw(values)))
    with pytest.raises(PackageError):
        portable.gap_value(job_of(coded, [Span(0, 4, (4,), (0,), 1)], 4))
