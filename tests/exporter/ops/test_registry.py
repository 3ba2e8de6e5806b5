"""The registries: every kind that is lowered is tested, and executed by the integer reference."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from exporter.errors import UnsupportedError
from exporter.graph import integer
from exporter.graph.integer.executor import executes
from exporter.graph.model import Graph, Operator, Tensor
from exporter.tflite import lower, registry

MODULES = Path(registry.__file__).parent / "ops"
TESTS = sorted(Path(__file__).parent.glob("test_*.py"))
SPELLED_OTHERWISE = {
    "Quantize": ("test_boundary.py", "at_another_scale"),  # a QuantizeLinear of another scale
    "Dequantize": ("test_boundary.py", "as_a_real_number"),  # a DequantizeLinear at an output
}
FLOAT_ALONE = {
    "ConvTranspose": "a quantized one becomes a convolution and a shuffle, or is refused",
}


def test_every_module_of_operators_has_a_test_file():
    without = {path.stem for path in MODULES.glob("[a-z]*.py")} - {
        path.stem.removeprefix("test_") for path in TESTS
    }
    assert without == {"fused"}  # the names of activations, in test_conv.py and test_dense.py


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_kind_that_is_lowered_is_tested(kind):
    if kind in SPELLED_OTHERWISE:
        file, words = SPELLED_OTHERWISE[kind]
        assert words in Path(__file__).with_name(file).read_text()
        return
    quoted = re.compile(rf'"{kind}( [0-9.]+)?"')
    named = [path.name for path in TESTS if quoted.search(path.read_text())]
    assert named, f"no test file in {Path(__file__).parent.name} names {kind}"


@pytest.mark.parametrize("kind", sorted(set(registry.kinds()) - set(FLOAT_ALONE)))
def test_every_kind_that_is_lowered_is_executed_by_the_reference(kind):
    assert kind in integer.kinds()


def test_nothing_is_executed_that_is_not_lowered():
    assert set(integer.kinds()) <= set(registry.kinds())


def refusals():
    """The reason of every `lowering.refuse(...)`: the longest piece that is written out."""
    for path in sorted(MODULES.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "refuse":
                pieces = [
                    part.value
                    for part in ast.walk(node.args[1])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                yield pytest.param(max(pieces, key=len), id=f"{path.stem}:{node.lineno}")


@pytest.mark.parametrize("reason", list(refusals()))
def test_every_refusal_is_read_by_a_test(reason):
    readers = [path.name for path in TESTS if reason.strip() in path.read_text()]
    assert readers, f"no test reads '{reason}'"


def test_a_kind_has_one_lowering():
    with pytest.raises(ValueError, match=r"Conv is lowered by exporter\.tflite\.ops\.conv already"):
        registry.lowers("Conv")(lambda lowering, operator: None)


def test_a_kind_is_executed_by_one_function():
    expected = r"Conv is executed by exporter\.graph\.integer\.convolution already"
    with pytest.raises(ValueError, match=expected):
        executes("Conv")(lambda operands: operands.array(0))


def test_registering_gives_the_function_back(monkeypatch):
    monkeypatch.setattr(registry, "_LOWERINGS", {})

    def function(lowering, operator):
        raise AssertionError

    assert registry.lowers("Unheard", "Unseen")(function) is function
    assert registry.lowering_of("Unheard") is function
    assert registry.kinds() == ("Unheard", "Unseen")
    assert registry.lowering_of("Conv") is None


@pytest.fixture
def unknown():
    """A graph of one operator that nothing knows."""
    import numpy as np

    tensors = {name: Tensor(name, (1, 2), np.dtype(np.float32)) for name in ("x", "y")}
    return Graph("g", tensors, [Operator("Unheard", "node_7", ["x"], ["y"])], ["x"], ["y"])


def test_an_unknown_kind_is_refused_by_the_lowering(unknown):
    with pytest.raises(UnsupportedError) as caught:
        lower(unknown)
    message = str(caught.value)
    assert "Unheard 'node_7' cannot be exported: it has no TFLite lowering" in message
    assert "use operators among: Abs, Add" in message


def test_a_lowering_to_an_operator_without_a_table_of_options_is_refused(unknown, monkeypatch):
    monkeypatch.setattr(registry, "_LOWERINGS", {})
    registry.lowers("Unheard")(lambda lowering, operator: lowering.writer.operator("COS", [], []))
    with pytest.raises(UnsupportedError) as caught:
        lower(unknown)
    message = str(caught.value)
    assert "node_7' cannot be exported: exporter/tflite/writer.py has no COS in _OPTIONS" in message
    assert "name the schema's table of COS there" in message


def test_an_unknown_kind_is_refused_by_the_reference(unknown):
    import numpy as np

    with pytest.raises(UnsupportedError) as caught:
        integer.run(unknown, [np.zeros((1, 2), np.float32)])
    message = str(caught.value)
    assert "Unheard 'node_7' cannot be exported: the integer reference does not know it" in message
    assert "use operators among: Abs, Add" in message
