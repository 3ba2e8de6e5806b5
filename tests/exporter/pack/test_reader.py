from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporter.cli import app
from exporter.pack import Options, encode, new_keys, pack
from exporter.pack.reader import MODULES, write_reader

ROOT = Path(__file__).resolve().parents[3]


def environments():
    """The helper that makes Python environments, which lies beside other tests."""
    name = "environments"
    if name not in sys.modules:
        path = ROOT / "tests" / "runtimes" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


# Python, and numpy of each major version that runs on it.
DEVICES = [
    ("3.9", "numpy-1.19", "numpy==1.19.5"),
    ("3.9", "numpy-1.26-on-3.9", "numpy==1.26.4"),
    ("3.9", "numpy-2.0-on-3.9", "numpy==2.0.2"),
    ("3.11", "numpy-1.26-on-3.11", "numpy==1.26.4"),
    ("3.13", "numpy-2-on-3.13", "numpy>=2.1"),
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return write_reader(tmp_path_factory.mktemp("reader") / "edgewright-unpack.pyz")


@pytest.fixture(scope="module")
def releases(models, sparse_layers, tmp_path_factory):
    """Two releases, the full package of the first, the delta to the second, signed, and the key."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("releases")
    moved = [replace(one, bias=one.bias + 1) for one in sparse_layers]
    (folder / "old.tflite").write_bytes(models.tflite(sparse_layers))
    (folder / "new.tflite").write_bytes(models.tflite(moved))
    new_keys(folder / "key")
    key = folder / "key"
    pack(folder / "old.tflite", folder / "full.ewp", Options(release=1, key=key))
    options = Options(base=(folder / "old.tflite",), release=2, key=key)
    pack(folder / "new.tflite", folder / "delta.ewp", options)
    return folder


def run(python, reader, *arguments):
    done = subprocess.run(
        [python, "-I", "-W", "error", str(reader), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("version", "name", "numpy"), DEVICES)
def test_one_file_unpacks_on_old_and_new_pythons(version, name, numpy, reader, releases, tmp_path):
    python = environments().environment(name, numpy, versions=(version,))
    trust = ("--trust", releases / "key.pub")
    run(python, reader, releases / "full.ewp", "-o", tmp_path / "old", *trust)
    options = ("--base", tmp_path / "old", *trust, "--newer-than", "1")
    run(python, reader, releases / "delta.ewp", "-o", tmp_path / "new", *options)
    assert (tmp_path / "new").read_bytes() == (releases / "new.tflite").read_bytes()


def test_the_reader_holds_what_it_imports_and_no_more(reader, releases, tmp_path):
    script = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "import runtimes.huffman, runtimes.rans\n"
        "print(*sorted(n for n in sys.modules if n.startswith('runtimes')))\n"
    )
    options = ["--base", str(releases / "old.tflite"), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(reader), str(releases / "delta.ewp"), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = done.stdout.splitlines()[-1].split()
    expected = {"runtimes", *(f"runtimes.{name}" for name in MODULES if name != "__init__")}
    assert set(loaded) == expected
    with zipfile.ZipFile(reader) as bundle:
        names = {f"runtimes/{name}.py" for name in MODULES}
        assert set(bundle.namelist()) == {"__main__.py", *names}


def test_the_reader_is_the_same_every_time_and_can_be_started(reader, tmp_path):
    again = write_reader(tmp_path / "again.pyz")
    assert again.read_bytes() == reader.read_bytes()
    assert os.access(reader, os.X_OK)
    assert reader.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert reader.stat().st_size < 60_000


def test_a_portable_package_needs_the_reader_and_python_alone(reader, tmp_path):
    from exporter.pack import PORTABLE

    content = bytes(500) + b"some model" * 20
    (tmp_path / "a.ewp").write_bytes(encode(content, "a.bin", Options(PORTABLE))[0])
    run(sys.executable, reader, tmp_path / "a.ewp")
    assert (tmp_path / "a.bin").read_bytes() == content


def test_the_commands_pack_sign_and_unpack(tmp_path):
    def invoke(*arguments):
        words = [str(one) for one in arguments]
        return CliRunner().invoke(app, words, catch_exceptions=False).output

    source = tmp_path / "a.bin"
    content = random.Random(0).randbytes(3000)
    source.write_bytes(content)
    assert "k.pub" in invoke("keys", "new", tmp_path / "k")
    assert "package," in invoke("pack", source, "--sign", tmp_path / "k", "--release", 2)
    package = tmp_path / "a.bin.ewp"
    trust = ("--trust", tmp_path / "k.pub", "--newer-than", 1)
    invoke("unpack", package, "-o", tmp_path / "b.bin", *trust)
    assert (tmp_path / "b.bin").read_bytes() == source.read_bytes()
    source.write_bytes(content[:1000] + b"new" + content[1003:])
    new = tmp_path / "n.ewp"
    assert "delta," in invoke("pack", source, "-o", new, "--base", tmp_path / "b.bin")
    invoke("unpack", new, "-o", tmp_path / "c.bin", "--base", tmp_path / "b.bin")
    assert (tmp_path / "c.bin").read_bytes() == source.read_bytes()
    assert "edgewright-unpack.pyz" in invoke("reader", "-o", tmp_path / "edgewright-unpack.pyz")


@pytest.mark.parametrize("arguments", [("unpack",), ()])
def test_python_m_runtimes_unpacks_too(arguments, tmp_path):
    (tmp_path / "a.ewp").write_bytes(encode(b"content", "a.bin")[0])
    module = "runtimes" if arguments else "runtimes.unpack"
    subprocess.run(
        [sys.executable, "-m", module, *arguments, str(tmp_path / "a.ewp")],
        cwd=ROOT,
        timeout=60,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "a.bin").read_bytes() == b"content"
