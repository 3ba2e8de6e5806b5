from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from runtimes.errors import EdgewrightError, ModelError
from runtimes.report import RunRequest, SmokeRequest
from runtimes.smoke import feed, run, save_outputs, smoke
from runtimes.values import sha256_of

LITE = {"model": "int8_tflite"}
ORT = {"model": "int8_onnx", "input_layouts": ("NCHW",), "output_layouts": ("NCHW",)}
BOTH = pytest.mark.parametrize("how", [LITE, ORT], ids=["litert", "onnxruntime"])


def request_for(kind, models, how, **fields):
    return kind(**{**how, "model": str(getattr(models, how["model"])), **fields})


@BOTH
@pytest.mark.parametrize("batch", [None, 1, 2, 7, 16])
def test_smoke_passes_on_the_golden_outputs(models, how, batch):
    found = smoke(request_for(SmokeRequest, models, how, golden=str(models.golden), batch=batch))
    assert found.passed
    assert (found.count, found.values, found.differing, found.max_lsb) == (7, 840, 0, 0)
    assert found.sha256 == found.expected_sha256 == sha256_of([models.outputs])


@BOTH
def test_smoke_counts_what_differs(models, how):
    found = smoke(request_for(SmokeRequest, models, how, golden=str(models.wrong_golden)))
    assert not found.passed
    assert (found.values, found.differing, found.max_lsb) == (840, 3, 4)
    assert found.sha256 == sha256_of([models.outputs]) != found.expected_sha256


@BOTH
def test_run_saves_the_canonical_outputs(models, how, tmp_path):
    saved = tmp_path / "out.npz"
    fields = {"inputs": str(models.golden), "outputs": str(saved)}
    found = run(request_for(RunRequest, models, how, **fields))
    assert found.sha256 == sha256_of([models.outputs])
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays.files == ["output.0"]
        np.testing.assert_array_equal(arrays["output.0"], models.outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def test_run_takes_inputs_by_name(models, tmp_path):
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **{"input.x": models.images})
    found = run(request_for(RunRequest, models, LITE, inputs=str(inputs)))
    assert found.sha256 == sha256_of([models.outputs])


def test_a_forgotten_layout_is_refused_and_named(models):
    how = {"model": "int8_onnx"}
    with pytest.raises(ModelError, match="NCHW"):
        smoke(request_for(SmokeRequest, models, how, golden=str(models.golden)))


def test_a_forgotten_output_layout_does_not_pass(models):
    how = {**ORT, "output_layouts": ()}
    with pytest.raises(ModelError, match="name the file's output layouts"):
        smoke(request_for(SmokeRequest, models, how, golden=str(models.golden)))


def test_layouts_must_be_as_many_as_inputs(models):
    how = {**ORT, "input_layouts": ("NCHW", "")}
    with pytest.raises(EdgewrightError, match="input layouts do not fit"):
        smoke(request_for(SmokeRequest, models, how, golden=str(models.golden)))


def test_a_golden_file_without_outputs_is_refused(models, tmp_path):
    golden = tmp_path / "golden.npz"
    np.savez(golden, **{"input.0": models.images})
    with pytest.raises(EdgewrightError, match="output 0"):
        smoke(request_for(SmokeRequest, models, LITE, golden=str(golden)))


def test_float_outputs_do_not_fit_an_int8_golden(models, tmp_path):
    golden = tmp_path / "golden.npz"
    arrays = {"input.0": np.zeros((1, 4, 6, 3), np.float32), "output.0": models.outputs[:1]}
    np.savez(golden, **arrays)
    how = {"model": "float_tflite"}
    with pytest.raises(ModelError, match="float32"):
        smoke(request_for(SmokeRequest, models, how, golden=str(golden)))


def test_an_ort_file_gives_the_same_outputs(models, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "tiny.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(models.int8_onnx), options)
    fields = {"golden": str(models.golden), "model": str(tmp_path / "tiny.ort")}
    layouts = {"input_layouts": ("NCHW",), "output_layouts": ("NCHW",)}
    found = smoke(SmokeRequest(**fields, **layouts))
    assert (found.runtime, found.passed) == ("onnxruntime", True)


class Doubler:
    """A backend that doubles, and keeps what it was fed."""

    inputs = outputs = ("only its length counts",)

    def __init__(self):
        self.fed = []

    def resize(self, batch):
        self.batch = batch

    def set_inputs(self, arrays):
        self.fed.append(arrays[0].tolist())

    def invoke(self):
        self.result = np.array(self.fed[-1]) * 2

    def get_outputs(self):
        return [self.result]


def test_the_last_batch_is_filled_up_and_cut_again():
    backend = Doubler()
    (found,) = feed(backend, [np.arange(5)], 3)
    assert found.tolist() == [0, 2, 4, 6, 8]
    assert backend.fed == [[0, 1, 2], [3, 4, 4]]


def test_an_output_without_a_batch_axis_is_refused():
    class Scalar(Doubler):
        outputs = (type("Spec", (), {"name": "total"}),)

        def get_outputs(self):
            return [np.float32(1).reshape(())]

    with pytest.raises(ModelError, match="output 'total' has no batch axis"):
        feed(Scalar(), [np.arange(2)], 1)


def test_outputs_that_cannot_be_written_are_an_error(tmp_path):
    with pytest.raises(EdgewrightError, match="cannot be written"):
        save_outputs(tmp_path / "missing" / "out.npz", [np.zeros(1)])
