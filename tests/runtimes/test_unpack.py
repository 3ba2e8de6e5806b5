from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.pack import encode
from runtimes import decode
from runtimes.errors import PackageError
from runtimes.unpack import Demands, main, unpack

ROOT = Path(__file__).resolve().parents[2]
DATA = bytes(500) + b"the original file" + bytes(500)


@pytest.fixture
def package(tmp_path):
    """A package of `a.bin`, alone in a directory."""
    path = tmp_path / "b.ewp"
    path.write_bytes(encode(DATA, "a.bin")[0])
    return path


def names(path):
    return sorted(one.name for one in path.parent.iterdir())


def test_the_original_appears_under_its_name_beside_the_package(package):
    assert unpack(package) == package.with_name("a.bin")
    assert package.with_name("a.bin").read_bytes() == DATA
    assert names(package) == ["a.bin", "b.ewp"]


def test_a_target_is_a_file_or_a_directory(package, tmp_path):
    assert unpack(package, tmp_path / "c.bin") == tmp_path / "c.bin"
    (tmp_path / "d").mkdir()
    assert unpack(package, tmp_path / "d") == tmp_path / "d" / "a.bin"
    assert (tmp_path / "c.bin").read_bytes() == (tmp_path / "d" / "a.bin").read_bytes() == DATA


@pytest.mark.parametrize("content", [b"", DATA[:-1] + b"x"])
def test_another_file_is_not_overwritten_unless_asked(package, content):
    target = package.with_name("a.bin")
    target.write_bytes(content)
    with pytest.raises(PackageError, match="there already") as caught:
        unpack(package)
    assert "overwrite" in caught.value.remedy
    assert target.read_bytes() == content
    assert unpack(package, overwrite=True).read_bytes() == DATA
    assert names(package) == ["a.bin", "b.ewp"]


def test_the_same_file_may_be_there_already(package):
    assert unpack(package) == unpack(package)


def test_a_directory_in_the_way_is_an_error(package):
    (package.with_name("a.bin") / "a.bin").mkdir(parents=True)
    for overwrite in (False, True):
        with pytest.raises(PackageError):
            unpack(package, package.with_name("a.bin"), overwrite=overwrite)
    assert names(package) == ["a.bin", "b.ewp"]


@pytest.mark.parametrize("place", [0, 10, -1])
def test_a_damaged_package_leaves_nothing_behind(package, place):
    data = bytearray(package.read_bytes())
    data[place] ^= 1
    package.write_bytes(data)
    with pytest.raises(PackageError):
        unpack(package)
    assert names(package) == ["b.ewp"]


def test_a_package_that_restores_something_else_leaves_nothing_behind(package, monkeypatch):
    monkeypatch.setattr(decode.hashlib, "sha256", decode.hashlib.md5)
    with pytest.raises(PackageError, match="does not restore"):
        unpack(package)
    assert names(package) == ["b.ewp"]


def test_an_interrupted_write_leaves_nothing_behind(package, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PackageError, match="no space left"):
        unpack(package)
    assert names(package) == ["b.ewp"]


def test_a_package_that_is_missing_or_no_file_is_an_error(tmp_path):
    for path in (tmp_path / "none.ewp", tmp_path):
        with pytest.raises(PackageError, match="cannot be read"):
            unpack(path)


def test_a_package_over_the_ceiling_is_not_read(package, monkeypatch):
    os.truncate(package, 6 << 20)
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(PackageError, match="too large for a package"):
        unpack(package, demands=Demands(ceiling_bytes=1 << 20))


def test_the_ceiling_is_the_callers(package):
    with pytest.raises(PackageError, match="larger than this reader"):
        unpack(package, demands=Demands(ceiling_bytes=1000))


def test_a_package_does_not_replace_itself(package):
    for target in (package, package.parent / "." / "b.ewp"):
        with pytest.raises(PackageError, match="its own package"):
            unpack(package, target, overwrite=True)


def test_the_command_prints_the_path(package, capsys):
    assert main([str(package), "-o", str(package.with_name("c.bin"))]) == 0
    assert capsys.readouterr().out.strip() == str(package.with_name("c.bin"))


def test_the_command_says_what_is_wrong(package, capsys):
    package.with_name("a.bin").write_bytes(b"other")
    assert main([str(package)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "to do:" in captured.err
    assert main([str(package), "--overwrite"]) == 0


def test_the_command_needs_the_standard_library_and_numpy_alone(package):
    script = (
        "import sys; before = set(sys.modules)\n"
        "from runtimes.unpack import main; code = main(sys.argv[1:])\n"
        "print(*{n.partition('.')[0] for n in set(sys.modules) - before})\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(package)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded - set(sys.stdlib_module_names) == {"numpy", "runtimes"}
