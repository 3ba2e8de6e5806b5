from __future__ import annotations

import hashlib

import pytest

from exporter.pack import pack
from runtimes.errors import ModelError, PackageError
from runtimes.model_file import model_file, sha256_of_file


def test_a_file_is_itself(models):
    assert model_file(str(models.int8_tflite)) == models.int8_tflite


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.tflite is missing"):
        model_file(str(tmp_path / "gone.tflite"))


def test_a_package_is_restored_whatever_lies_beside_it(models, tmp_path):
    package = tmp_path / "tiny.int8.tflite.ewp"
    pack(models.int8_tflite, package)
    (tmp_path / "tiny.int8.tflite").write_text("another file")
    for _ in range(2):
        found = model_file(str(package))
        assert found.name == "tiny.int8.tflite"
        assert found.read_bytes() == models.int8_tflite.read_bytes()
    assert (tmp_path / "tiny.int8.tflite").read_text() == "another file"


def test_a_package_that_changed_is_restored_anew(models, tmp_path):
    package = tmp_path / "model.ewp"
    for source in (models.int8_tflite, models.float_tflite):
        (tmp_path / "model.tflite").write_bytes(source.read_bytes())
        pack(tmp_path / "model.tflite", package)
        assert model_file(str(package)).read_bytes() == source.read_bytes()


def test_a_damaged_package_is_refused(tmp_path):
    (tmp_path / "x.ewp").write_bytes(b"garbage")
    with pytest.raises(PackageError):
        model_file(str(tmp_path / "x.ewp"))


def test_the_hash_is_the_files(models):
    expected = hashlib.sha256(models.int8_onnx.read_bytes()).hexdigest()
    assert sha256_of_file(models.int8_onnx) == expected
