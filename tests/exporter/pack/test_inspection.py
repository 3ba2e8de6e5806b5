from __future__ import annotations

import gzip
import json

import pytest
from typer.testing import CliRunner

from exporter.cli import app
from exporter.errors import EdgewrightError, PackageError
from exporter.pack import Options, encode, new_keys
from exporter.pack.inspection import inspect_package


@pytest.fixture
def package(models, sparse_layers, tmp_path):
    """A signed package of a pruned model, release 7."""
    data = models.tflite(sparse_layers)
    new_keys(tmp_path / "k")
    options = Options(release=7, key=tmp_path / "k")
    (tmp_path / "a.ewp").write_bytes(encode(data, "a.tflite", options)[0])
    (tmp_path / "a.tflite").write_bytes(data)
    return tmp_path / "a.ewp"


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def test_the_report_adds_up(package):
    report = inspect_package(package)
    data = package.with_name("a.tflite").read_bytes()
    assert (report.original_bytes, report.package_bytes) == (len(data), package.stat().st_size)
    assert sum(one.original_bytes for one in report.groups) == len(data)
    stored = sum(one.package_bytes for one in report.groups)
    assert report.header_bytes + stored == report.package_bytes
    assert (report.release, report.signed, report.base, report.portable) == (7, True, None, False)
    assert report.others["gzip -9"] == len(gzip.compress(data, 9, mtime=0))
    assert list(report.others) == ["gzip -9", "xz -9e", "brotli -11"]


def test_weights_take_less_than_their_order_0_entropy(package):
    groups = inspect_package(package).groups
    weights = max(
        (one for one in groups if one.content == "weights"), key=lambda one: one.original_bytes
    )
    assert weights.items == 73_728
    assert 0.9 < weights.bits_per_item < weights.entropy_bits < 1.3


def test_the_command_prints_a_table_or_json(package):
    table = run("inspect", package).output
    for text in ("class rANS", "release 7", "signed", "gzip -9", "xz -9e", "brotli -11", "order-0"):
        assert text in table
    document = json.loads(run("inspect", package, "--json").output)
    assert document["schema_version"] == 1
    assert document["groups"][0]["content"] == "skeleton"


def test_a_delta_is_inspected_with_its_base(models, sparse_layers, package, tmp_path):
    old = package.with_name("a.tflite")
    delta, _ = encode(old.read_bytes(), "a.tflite", Options(base=(old,)))
    (tmp_path / "d.ewp").write_bytes(delta)
    assert "delta of" in run("inspect", tmp_path / "d.ewp", "--base", old).output
    assert "delta of" in run("inspect", tmp_path / "d.ewp", "--base", package).output
    with pytest.raises(PackageError, match="needs the file that it builds on"):
        inspect_package(tmp_path / "d.ewp")


def test_what_is_no_package_says_so(tmp_path):
    with pytest.raises(PackageError, match="cannot be read"):
        inspect_package(tmp_path / "none.ewp")
    (tmp_path / "a.ewp").write_bytes(b"something else")
    with pytest.raises(PackageError, match=r"no \.ewp package"):
        inspect_package(tmp_path / "a.ewp")
    (tmp_path / "a.txt").write_bytes(b"something else")
    with pytest.raises(EdgewrightError, match="no model that is known"):
        run("inspect", tmp_path / "a.txt")
