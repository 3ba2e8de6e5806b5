"""The agent as a process: what goes in, what comes out, and what it needs."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from runtimes import info
from runtimes.values import sha256_of

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "runtimes").glob("*.py"))
MODULES = [f"runtimes.{path.stem}" for path in SOURCES if path.stem != "__init__"]


def test_info_tells_the_interpreters_of_this_environment(agent):
    code, answer, _ = agent({"action": "info"})
    report = answer["report"]
    versions = {entry["name"]: entry["version"] for entry in report["interpreters"]}
    assert code == 0
    assert answer["ok"] is True
    assert answer["action"] == "info"
    assert report["python"] == sys.version.split()[0]
    assert report["numpy"] == np.__version__
    assert report["cores"] == os.cpu_count()
    assert set(versions) == {"litert", "tflite_runtime", "tensorflow", "onnxruntime"}
    assert versions["litert"][0].isdigit()
    assert versions["onnxruntime"][0].isdigit()


@pytest.mark.parametrize(
    ("kernel", "maxsize", "expected"),
    [
        ("aarch64", 2**63 - 1, "aarch64"),
        ("aarch64", 2**31 - 1, "armv8l"),
        ("armv7l", 2**31 - 1, "armv7l"),
    ],
)
def test_a_32_bit_python_under_a_64_bit_kernel_is_told(monkeypatch, kernel, maxsize, expected):
    monkeypatch.setattr(info.platform, "machine", lambda: kernel)
    monkeypatch.setattr(info.sys, "maxsize", maxsize)
    assert info._machine() == expected


@pytest.mark.parametrize(
    ("model", "delegate", "expected"),
    [
        ("int8_tflite", "default", ("litert", "xnnpack")),
        ("int8_tflite", "none", ("litert", "none")),
        ("float_tflite", "default", ("litert", "xnnpack")),
        ("int8_onnx", "default", ("onnxruntime", "none")),
        ("float_onnx", "default", ("onnxruntime", "none")),
    ],
)
def test_bench_numbers_hold_together(agent, models, model, delegate, expected):
    fields = {"model": str(getattr(models, model)), "delegate": delegate, "threads": 2}
    code, answer, _ = agent({"action": "bench", "seconds": 0.05, "min_runs": 20, **fields})
    assert code == 0, answer
    row = answer["report"]["row"]
    samples = row["samples_ms"]
    assert (row["runtime"], row["delegate"]) == expected
    assert row["artifact"] == getattr(models, model).name
    assert row["threads"] == 2
    assert len(samples) >= 20
    assert sum(samples) <= 1000
    assert row["p50_ms"] == pytest.approx(float(np.percentile(samples, 50)))
    assert row["p99_ms"] == pytest.approx(float(np.percentile(samples, 99)))
    assert row["std_ms"] == pytest.approx(float(np.std(samples, ddof=1)))
    assert 0 < min(samples) <= row["p50_ms"] < row["load_ms"]
    assert row["first_ms"] > 0
    # Python with numpy and an interpreter: some 10 MB at the least.
    assert 10e6 < row["memory_before_bytes"] <= row["memory_loaded_bytes"] < 1e9
    assert row["memory_loaded_bytes"] <= row["peak_load_bytes"]
    assert row["memory_loaded_bytes"] * 0.9 < row["peak_inference_bytes"] < 1e9


def save_float_onnx(path, nodes, **constants):
    """A float32 model from x [1, 1] to y [1, 1]."""
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "memory",
        [helper.make_tensor_value_info("x", kind, [1, 1])],
        [helper.make_tensor_value_info("y", kind, [1, 1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def bench_row(agent, path):
    _, answer, _ = agent({"action": "bench", "model": str(path), "seconds": 0, "min_runs": 3})
    return answer["report"]["row"]


def test_the_peak_of_inference_is_the_models(agent, tmp_path):
    """Tensors of 64 MiB to run, and almost nothing to load."""
    nodes = [
        ("Expand", ["x", "shape"], ["wide"]),
        ("Exp", ["wide"], ["large"]),
        ("ReduceSum", ["large"], ["y"]),
    ]
    save_float_onnx(tmp_path / "wide.onnx", nodes, shape=np.array([1, 16 << 20]))
    row = bench_row(agent, tmp_path / "wide.onnx")
    assert row["peak_load_bytes"] - row["memory_before_bytes"] < 40e6
    # Two such tensors, and what the arena that grows by doubling takes on top.
    assert 64e6 < row["peak_inference_bytes"] - row["memory_loaded_bytes"] < 500e6


def test_the_peak_of_inference_leaves_out_that_of_loading(agent, tmp_path):
    """Weights of 64 MiB, which are there twice while they are loaded, and almost nothing to run."""
    weights = np.random.default_rng(0).random((16 << 20, 1), np.float32)
    nodes = [("Gather", ["w", "first"], ["one"]), ("Mul", ["one", "x"], ["y"])]
    path = tmp_path / "heavy.onnx"
    save_float_onnx(path, nodes, w=weights, first=np.array(0))
    row = bench_row(agent, path)
    assert row["peak_load_bytes"] - row["memory_loaded_bytes"] > 50e6, row
    assert row["peak_inference_bytes"] < row["peak_load_bytes"] - 30e6


def test_run_in_litert_and_onnxruntime_gives_one_hash(agent, models):
    base = {"action": "run", "inputs": str(models.golden)}
    layouts = {"input_layouts": ["NCHW"], "output_layouts": ["NCHW"]}
    _, lite, _ = agent({**base, "model": str(models.int8_tflite)})
    _, onnx, _ = agent({**base, "model": str(models.int8_onnx), **layouts})
    assert lite["report"]["sha256"] == onnx["report"]["sha256"] == sha256_of([models.outputs])
    assert lite["report"]["count"] == 7


@pytest.mark.parametrize(("golden", "passed"), [("golden", True), ("wrong_golden", False)])
def test_smoke_answers_whatever_the_verdict(agent, models, golden, passed):
    fields = {"model": str(models.int8_tflite), "golden": str(getattr(models, golden))}
    code, answer, _ = agent({"action": "smoke", **fields})
    assert code == 0
    assert answer["report"]["passed"] is passed


@pytest.mark.parametrize(
    ("request_text", "kind", "message"),
    [
        ("", "EdgewrightError", "no JSON"),
        ("{", "EdgewrightError", "no JSON"),
        ("[1]", "EdgewrightError", "must be a JSON object"),
        ("{}", "EdgewrightError", "names no action"),
        ('{"action": "destroy"}', "EdgewrightError", "'destroy'"),
        ('{"action": "info", "x": 1}', "EdgewrightError", "unknown ['x']"),
        ('{"action": "bench", "model": "gone.tflite"}', "ModelError", "gone.tflite is missing"),
        ('{"action": "bench", "model": "README.md"}', "ModelError", "no file for the runtime"),
    ],
)
def test_refusals_have_a_type_a_message_and_a_code(agent, request_text, kind, message):
    code, answer, _ = agent(request_text)
    assert code == 2
    assert answer["ok"] is False
    assert answer["error"]["type"] == kind
    assert message in answer["error"]["message"]
    assert answer["error"]["exit_code"] == 2


def with_path(*directories, **variables):
    paths = os.pathsep.join(map(str, directories))
    return {**os.environ, "PYTHONPATH": paths, **variables}


NOISY = """
import os
os.write(1, b"noise of the C level, ")
print("and of Python")
__version__ = "9.9"
raise {error}
"""


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("ImportError('broken build')", "MissingRuntimeError", 2),
        ("ZeroDivisionError('what nobody expects')", "InternalError", 3),
    ],
)
def test_noise_never_reaches_the_answer(agent, models, tmp_path, error, kind, code):
    (tmp_path / "onnxruntime.py").write_text(NOISY.format(error=error))
    found, answer, stderr = agent(
        {"action": "bench", "model": str(models.int8_onnx)}, environment=with_path(tmp_path)
    )
    assert found == code
    assert answer["error"]["type"] == kind
    assert answer["error"]["exit_code"] == code
    assert "noise of the C level, " in stderr
    assert "and of Python" in stderr


def test_without_numpy_the_agent_still_answers(agent, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('No module named numpy')")
    code, answer, _ = agent({"action": "info"}, environment=with_path(tmp_path))
    assert code == 2
    assert answer["error"]["type"] == "MissingRuntimeError"
    assert answer["error"]["remedy"] == "pip install numpy"


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_the_standard_library_and_numpy(module):
    code = "import sys, numpy; a = set(sys.modules); import {}; print(*set(sys.modules) - a)"
    done = subprocess.run(
        [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
    )
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert found <= sys.stdlib_module_names | {"runtimes", "numpy"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_are_python_3_9(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert len(tree.body) == 1 or any(
        node.module == "__future__" and node.names[0].name == "annotations" for node in imports
    )


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_other_pythons_run_the_agent(agent, other_python, version):
    python = other_python(version)
    if python is None:
        pytest.skip(f"NOT TESTED: no Python {version} here")
    done = subprocess.run([python, "-c", "import numpy"], capture_output=True, check=False)
    code, answer, _ = agent({"action": "info"}, python=python)
    if done.returncode == 0:
        assert code == 0
        assert answer["report"]["python"].startswith(version)
    else:
        # Without numpy the imports cannot be tested; that the agent says so, can.
        assert answer["error"]["type"] == "MissingRuntimeError"
        assert "numpy" in answer["error"]["found"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_the_oldest_and_newest_python_give_the_same_outputs(agent, models, environment, version):
    python = environment(f"onnxruntime-{version}", "onnxruntime", versions=(version,))
    fields = {"model": str(models.int8_onnx), "golden": str(models.golden)}
    layouts = {"input_layouts": ["NCHW"], "output_layouts": ["NCHW"]}
    _, answer, _ = agent({"action": "smoke", **fields, **layouts}, python=python)
    assert answer["report"]["passed"], answer
    _, answer, _ = agent({"action": "bench", "model": fields["model"], "seconds": 0}, python=python)
    assert len(answer["report"]["row"]["samples_ms"]) == 50


@pytest.mark.slow
def test_the_numpy_of_debian_11_is_enough_to_answer(agent, environment):
    python = environment("numpy-1.19", "numpy==1.19.5", versions=("3.9",))
    code, answer, _ = agent({"action": "info"}, python=python)
    assert code == 0
    assert answer["report"]["numpy"] == "1.19.5"


class TestTfliteRuntime:
    """The last release of tflite-runtime, with numpy 1: what many a board still runs."""

    def test_info(self, agent, tflite_runtime_python):
        _, answer, _ = agent({"action": "info"}, python=tflite_runtime_python)
        versions = {entry["name"]: entry["version"] for entry in answer["report"]["interpreters"]}
        assert answer["report"]["numpy"].startswith("1.")
        assert versions["tflite_runtime"] == "2.14.0"
        assert versions["litert"] is None
        assert versions["onnxruntime"] is None

    @pytest.mark.parametrize(
        ("model", "delegate"), [("float_tflite", "xnnpack"), ("int8_tflite", "none")]
    )
    def test_bench(self, agent, models, tflite_runtime_python, model, delegate):
        """XNNPACK takes float operators there, but none of int8."""
        _, answer, _ = agent(
            {"action": "bench", "model": str(getattr(models, model)), "seconds": 0.05},
            python=tflite_runtime_python,
        )
        row = answer["report"]["row"]
        assert (row["runtime"], row["runtime_version"]) == ("tflite_runtime", "2.14.0")
        assert row["delegate"] == delegate
        assert len(row["samples_ms"]) >= 50
        assert 0 < row["p50_ms"] < 10
        said = any("XNNPACK takes no operator" in note for note in row["notes"])
        assert said == (delegate == "none")

    def test_run_gives_what_litert_gives_with_builtin_kernels(
        self, agent, models, tflite_runtime_python
    ):
        fields = {"model": str(models.int8_tflite), "inputs": str(models.golden)}
        request = {"action": "run", "delegate": "none", **fields}
        _, board, _ = agent(request, python=tflite_runtime_python)
        _, here, _ = agent(request)
        assert board["report"]["sha256"] == here["report"]["sha256"]

    def test_smoke_measures_the_distance_to_xnnpack(self, agent, models, tflite_runtime_python):
        fields = {"model": str(models.int8_tflite), "golden": str(models.golden)}
        _, answer, _ = agent({"action": "smoke", **fields}, python=tflite_runtime_python)
        report = answer["report"]
        assert report["values"] == 840
        assert report["max_lsb"] <= 1
        assert report["passed"] == (report["differing"] == 0)

    def test_an_onnx_file_names_what_to_install(self, agent, models, tflite_runtime_python):
        request = {"action": "bench", "model": str(models.int8_onnx)}
        code, answer, _ = agent(request, python=tflite_runtime_python)
        assert code == 2
        assert answer["error"]["type"] == "MissingRuntimeError"
        assert answer["error"]["remedy"] == "pip install onnxruntime"


def test_the_answer_is_one_line_of_json(models):
    done = subprocess.run(
        [sys.executable, "-m", "runtimes"],
        input=json.dumps({"action": "bench", "model": str(models.int8_tflite), "seconds": 0}),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.count("\n") == 1
    assert "XNNPACK" in done.stderr
