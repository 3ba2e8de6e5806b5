"""Quantization-aware training in a user's own loop, and the files that come of it.

    qat = prepare_qat(model, InputSpec((1, 3, 224, 224)), calibration_batches)
    optimizer = torch.optim.SGD(qat.module.parameters(), 1e-3)
    for frames, labels in loader:
        loss = cross_entropy(qat.module(qat.inputs(frames)), labels)
        ...                                    # any optimizer, AMP, DDP: it is a plain nn.Module
    shipped = qat.finish("build", "mymodel")   # .int8.tflite, .int8.onnx, .int8.ort, packages

Weights that were pruned or given levels by `exporter.compress` come with their grids:
`prepare_qat(model, spec, batches, grids=compressor.finish())`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.fx import GraphModule

from exporter.inputs import InputSpec
from exporter.quantize.capture import quiet_torch
from exporter.quantize.compact import coarsen_biases
from exporter.quantize.finish import Trained, finish
from exporter.quantize.fold import Grids
from exporter.quantize.quantize import Calibration, prepare_module

PLAIN = Calibration()


@dataclass(frozen=True)
class Shipped:
    """What `Qat.finish` has written.

    Attributes:
        module: gives the same floats as the one that trained did; its integers are those of the
            files.
        trained: integers and scales of all weights, scales and zero points of all activations.
        files: by what stands between the name and nothing, such as "int8.tflite".
    """

    module: GraphModule
    trained: Trained
    files: dict[str, Path]


class Qat:
    """A network with quantizers in place, to be trained on. Make one with `prepare_qat`.

    Attributes:
        module: takes what `inputs` gives; parameters are weights and biases with batch norm folded
            in. It has one mode: `train()` and `eval()` change nothing.
    """

    def __init__(self, module: GraphModule, spec: InputSpec, *, small_parts: bool = True) -> None:
        self.module = module
        self._spec = spec
        self._small_parts = small_parts

    def inputs(self, samples: torch.Tensor) -> torch.Tensor:
        """Samples of the data set to what the module takes, on the same device.

        Args:
            samples: frames [N, H, W, C], or floats [N, C, H, W], as the `InputSpec` says.

        Raises:
            RecipeError: they have another shape or type.
        """
        return self._spec.to_graph(samples)

    def finish(
        self,
        directory: str | Path,
        name: str = "model",
        *,
        outputs: Sequence[str] = (),
        output_dtype: Literal["int8", "float32"] = "int8",
    ) -> Shipped:
        """Write NAME.qdq.onnx, NAME.int8.tflite, .onnx and .ort, and a package for each int8 file.

        The module can be trained on, and finished again: a copy is finished. Biases are rounded
        first, by a sixteenth of the output's step at most (`exporter.quantize.compact`).

        Args:
            directory: where; it is made if it is not there.
            name: of the files and the graph.
            outputs: names of the network's outputs.
            output_dtype: of the files' outputs.

        Raises:
            UnsupportedError: a part that has no form in the files.
            RecipeError: as many names as outputs were not given.
        """
        if self._small_parts:
            coarsen_biases(self.module)
        with quiet_torch():
            module = copy.deepcopy(self.module).to("cpu")
        module, trained = finish(module)
        files = _write(module, self._spec, Path(directory), name, outputs, output_dtype)
        return Shipped(module, trained, files)


def prepare_qat(
    module: nn.Module,
    spec: InputSpec,
    samples: Iterable[torch.Tensor],
    *,
    grids: Grids | None = None,
    exact: bool = True,
    small_parts: bool = True,
    calibration: Calibration = PLAIN,
) -> Qat:
    """Capture a trained network, fold its batch norms, calibrate it and put quantizers in place.

    Args:
        module: a trained network on the CPU; left as it is.
        spec: its input.
        samples: batches of the data set, without labels, to measure ranges on.
        grids: of weights that were trained on levels, from `Compressor.finish`.
        exact: keep the rules that make LiteRT and ONNX Runtime agree bit for bit.
        small_parts: scales with short mantissas, and biases no finer than their effect: in a small
            network a tenth of the package.
        calibration: how ranges are found.

    Raises:
        UnsupportedError: a part that cannot be captured, or has no int8 form; with the remedy.
        RecipeError: samples that do not fit the input.
        ValueError: no samples.
    """
    prepared = prepare_module(
        module,
        spec,
        samples,
        grids=grids,
        exact=exact,
        short_scales=small_parts,
        calibration=calibration,
    )
    drop_unused(prepared.graph_module)
    return Qat(prepared.graph_module, spec, small_parts=small_parts)


def drop_unused(graph_module: GraphModule) -> None:
    """Take away the parameters that the graph reads no longer: weights behind their grids.

    An optimizer would decay them for nothing, and DDP waits for their gradients for ever.
    """
    read = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    called = {str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"}
    for name, _ in list(graph_module.named_parameters()):
        owner, _, attribute = name.rpartition(".")
        if name not in read and owner not in called:
            delattr(graph_module.get_submodule(owner), attribute)


def _write(
    module: GraphModule,
    spec: InputSpec,
    directory: Path,
    name: str,
    outputs: Sequence[str],
    output_dtype: str,
) -> dict[str, Path]:
    import onnx_ir as ir

    from exporter.build import replacing
    from exporter.graph.canonical import canonicalise
    from exporter.graph.read import load
    from exporter.onnx_export import to_onnx
    from exporter.ort import mobile, qdq
    from exporter.pack import pack
    from exporter.tflite import lower_file

    model = to_onnx(module, torch.zeros((2, *spec.shape[1:])), name, outputs)
    canonicalise(
        model,
        dtype=spec.dtype,
        integer_outputs=output_dtype == "int8",
        frame_zero_point=spec.frame_zero_point,
    )
    suffixes = ("qdq.onnx", "int8.tflite", "int8.onnx", "int8.ort")
    files = {suffix: directory / f"{name}.{suffix}" for suffix in suffixes}
    with replacing(files["qdq.onnx"]) as temporary:
        ir.save(model, temporary, format="protobuf")
    lower_file(files["qdq.onnx"], files["int8.tflite"])
    canonical = load(files["qdq.onnx"])
    with replacing(files["int8.onnx"]) as temporary:
        ir.save(qdq.lower(canonical), temporary, format="protobuf")
    signed = directory / f".{name}.int8.signed.onnx"
    try:
        ir.save(qdq.lower(canonical, unsigned=False), signed, format="protobuf")
        mobile.convert(signed, files["int8.ort"])
    finally:
        signed.unlink(missing_ok=True)
    for suffix in suffixes[1:]:
        files[f"{suffix}.ewp"] = directory / f"{name}.{suffix}.ewp"
        pack(files[suffix], files[f"{suffix}.ewp"])
    return files
