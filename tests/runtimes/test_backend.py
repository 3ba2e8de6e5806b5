from __future__ import annotations

import dataclasses
import sys
import types

import numpy as np
import pytest

from runtimes.backend import find_runtime, open_model, own_batch, random_inputs
from runtimes.errors import MissingRuntimeError, ModelError
from runtimes.report import TensorSpec
from runtimes.tflite import TfliteBackend, TfliteRuntime, _left_by_delegate


def outputs_of(backend, array):
    backend.set_inputs([array])
    backend.invoke()
    (output,) = backend.get_outputs()
    return output


def test_litert_tells_its_inputs(models):
    backend = open_model(models.int8_tflite)
    (spec,) = backend.inputs
    assert (spec.name, spec.shape, spec.dtype, spec.zero_point) == ("x", (1, 4, 6, 3), "int8", -5)
    assert spec.scale == pytest.approx(0.031)
    assert backend.outputs[0].shape == (1, 4, 6, 5)
    assert own_batch(backend) == 1


def test_onnxruntime_tells_its_inputs(models):
    backend = open_model(models.int8_onnx)
    assert backend.inputs == (TensorSpec("x", (None, 3, 4, 6), "uint8"),)
    assert own_batch(backend) == 1


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_litert_runs_any_batch(models, batch):
    backend = open_model(models.int8_tflite)
    backend.resize(batch)
    found = outputs_of(backend, models.images[:batch])
    np.testing.assert_array_equal(found, models.outputs[:batch])
    assert backend.delegate() == ("xnnpack", ())


def test_onnxruntime_gives_the_same_integers_128_higher(models):
    nchw = (models.images.transpose(0, 3, 1, 2).astype(np.int16) + 128).astype(np.uint8)
    found = outputs_of(open_model(models.int8_onnx), nchw).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found.astype(np.int16) - 128, models.outputs)


def test_float_files_agree(models):
    image = np.random.default_rng(3).random((1, 4, 6, 3)).astype(np.float32)
    lite = outputs_of(open_model(models.float_tflite), image)
    onnx = outputs_of(open_model(models.float_onnx), image.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(lite, onnx.transpose(0, 2, 3, 1), rtol=1e-5)


def test_without_xnnpack_the_builtin_kernels_run(models):
    backend = open_model(models.int8_tflite, delegate="none")
    assert backend.delegate() == ("none", ())
    found = outputs_of(backend, models.images[:1]).astype(int)
    # Fixed-point requantization: up to 1 LSB from XNNPACK's floats.
    assert np.abs(found - models.outputs[:1]).max() <= 1


def test_onnxruntime_has_no_delegate_and_says_so(models):
    assert open_model(models.int8_onnx).delegate() == ("none", ())
    name, notes = open_model(models.int8_onnx, delegate="none").delegate()
    assert name == "none"
    assert "means nothing" in notes[0]


def test_a_fixed_batch_is_refused_by_onnxruntime(models):
    with pytest.raises(ModelError, match="cannot take a batch of 2") as caught:
        open_model(models.float_onnx).resize(2)
    assert "fixed batch of 1" in caught.value.found


@pytest.mark.parametrize("name", ["int8_tflite", "int8_onnx"])
@pytest.mark.parametrize(
    "array",
    [np.zeros((1, 5, 5, 5), np.int8), np.zeros((1, 4, 6, 3), np.float32), np.zeros(3, np.uint8)],
    ids=["shape", "type", "rank"],
)
def test_inputs_that_do_not_fit_are_refused(models, name, array):
    with pytest.raises(ModelError, match="do not fit the model"):
        open_model(getattr(models, name)).set_inputs([array])


@pytest.mark.parametrize("suffix", ["tflite", "onnx", "ort"])
def test_garbage_is_refused_in_the_interpreters_words(tmp_path, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"this is not a model at all" * 4)
    with pytest.raises(ModelError, match=rf"refuses bad\.{suffix}") as caught:
        open_model(path)
    assert caught.value.found


@pytest.mark.parametrize(
    ("name", "runtime", "message"),
    [
        ("a.tflite", "auto", "is missing"),
        ("b.txt", "auto", "no file for the runtime 'auto'"),
        ("b.tflite", "onnxruntime", "no file for the runtime 'onnxruntime'"),
        ("b.onnx", "litert", "no file for the runtime 'litert'"),
    ],
)
def test_no_runtime_for_a_file(tmp_path, name, runtime, message):
    for present in ("b.txt", "b.tflite", "b.onnx"):
        (tmp_path / present).touch()
    with pytest.raises(ModelError, match=message):
        find_runtime(tmp_path / name, runtime)


def test_a_missing_interpreter_names_what_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingRuntimeError, match="pip install onnxruntime"):
        find_runtime(models.int8_onnx)


@pytest.mark.parametrize(
    ("name", "module", "missing"),
    [
        ("tflite_runtime", "tflite_runtime.interpreter", ("ai_edge_litert",)),
        ("tensorflow", "tensorflow.lite.python.interpreter", ("ai_edge_litert", "tflite_runtime")),
    ],
)
def test_auto_takes_the_first_tflite_interpreter_that_is_there(
    models, monkeypatch, name, module, missing
):
    for package in missing:
        monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    sys.modules[name].__version__ = "2.14.0"
    found = find_runtime(models.int8_tflite)
    assert (found.name, found.version) == (name, "2.14.0")


def test_no_tflite_interpreter_at_all_says_why_of_each(models, monkeypatch):
    for name in ("ai_edge_litert", "tflite_runtime", "tensorflow.lite.python"):
        monkeypatch.setitem(sys.modules, f"{name}.interpreter", None)
        monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType("stub"))
    with pytest.raises(MissingRuntimeError, match="pip install ai-edge-litert") as caught:
        find_runtime(models.int8_tflite)
    assert caught.value.found.count(":") >= 3


def test_numpy_2_under_tflite_runtime_is_explained(models):
    def fail(**_arguments):
        raise SystemError("<built-in function CreateWrapper> returned a result with an error set")

    resolvers = types.SimpleNamespace(AUTO=0, BUILTIN_WITHOUT_DEFAULT_DELEGATES=3)
    module = types.SimpleNamespace(Interpreter=fail, OpResolverType=resolvers)
    runtime = TfliteRuntime("tflite_runtime", "2.14.0", module)
    with pytest.raises(MissingRuntimeError, match=r"numpy>=1\.23,<2"):
        runtime.load(models.int8_tflite, 1, "default")


def node(name, inputs, outputs):
    return {"op_name": name, "inputs": np.array(inputs), "outputs": np.array(outputs)}


CHAIN = [node("CONV_2D", [0, 9], [1]), node("CUSTOM", [1], [2]), node("ADD", [2, 1], [3])]


@pytest.mark.parametrize(
    ("delegates", "left"),
    [
        ([], None),
        ([node("DELEGATE", [0, 9], [3])], []),
        ([node("DELEGATE", [0], [1])], ["CUSTOM", "ADD"]),
        ([node("DELEGATE", [2, 1], [3])], ["CONV_2D", "CUSTOM"]),
        ([node("DELEGATE", [0], [1]), node("DELEGATE", [2, 1], [3])], ["CUSTOM"]),
    ],
    ids=["no delegate", "all", "head", "tail", "two"],
)
def test_operators_that_a_delegate_leaves_are_found(delegates, left):
    assert _left_by_delegate(CHAIN + delegates) == (left, 3)


def test_a_partial_delegate_is_noted():
    interpreter = types.SimpleNamespace(
        get_input_details=list,
        get_output_details=list,
        _get_ops_details=lambda: [*CHAIN, node("DELEGATE", [0], [1])],
    )
    assert TfliteBackend(interpreter, "a.tflite", "default").delegate() == (
        "xnnpack",
        ("XNNPACK runs 1 of 3 operators; TFLite's kernels run ADD, CUSTOM",),
    )


def test_an_interpreter_that_hides_its_operators_is_unknown():
    interpreter = types.SimpleNamespace(get_input_details=list, get_output_details=list)
    name, notes = TfliteBackend(interpreter, "a.tflite", "default").delegate()
    assert name == "unknown"
    assert notes


INT8 = TensorSpec("x", (None, 40, 40, 3), "int8")


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int8", -128, 127), ("uint8", 0, 255), ("float32", 0.0, 1.0)]
)
def test_random_inputs_fill_the_range(dtype, low, high):
    (found,) = random_inputs([dataclasses.replace(INT8, dtype=dtype)], 2, seed=1)
    assert found.shape == (2, 40, 40, 3)
    assert found.dtype.name == dtype
    assert low <= found.min() <= low + 0.01
    assert high - 0.01 <= found.max() <= high


def test_random_inputs_follow_the_seed():
    first, again, other = (random_inputs([INT8], 1, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "spec",
    [TensorSpec("x", (1, None, 3), "int8"), TensorSpec("x", (1, 3), "string")],
    ids=["dynamic", "type"],
)
def test_random_inputs_refuse(spec):
    with pytest.raises(ModelError, match="input 'x'"):
        random_inputs([spec], 1, 0)
