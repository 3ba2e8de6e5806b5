"""What a conversion read, changed, left in float and wrote: the document that `convert` gives."""

from __future__ import annotations

from exporter.build import Frozen


class Source(Frozen):
    """The model as it came.

    Attributes:
        path: of the file.
        sha256: of the file.
        producer: the tool that wrote it, as it says.
        opset: of the standard operators.
        operators: how many of each.
        quantization: "none", "QDQ", "QOperator", or both.
        activations: integer types of the activations.
        weights: integer types of the weights, such as "int8 per channel".
    """

    path: str
    sha256: str
    producer: str
    opset: int
    operators: dict[str, int]
    quantization: str
    activations: tuple[str, ...]
    weights: tuple[str, ...]


class Rewrite(Frozen):
    """One kind of rewrite: to how many nodes it was done, and whether numbers stay as they were."""

    what: str
    count: int
    exact: bool


class Requantized(Frozen):
    """A change of numbers, asked for or by rounding: the node, what was done, how large it is."""

    node: str
    what: str
    detail: str


class InFloat(Frozen):
    """An operator of a quantized model that computes in float, and why.

    By design are those that both runtimes compute alike in float, and in integers do not.
    """

    node: str
    operator: str
    reason: str
    by_design: bool


class Saturating(Frozen):
    """An operator whose weights break the pair rule (`exporter.graph.pairs`).

    Attributes:
        node: the operator's.
        largest: the largest sum of two adjacent weights of one sign; up to 128 is exact everywhere.
        channels: how many output channels break the rule.
        of: how many it has.
    """

    node: str
    largest: int
    channels: int
    of: int


class Interface(Frozen):
    """An input or output of the written file; an open batch is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Difference(Frozen):
    """How far two ways to run the model differ.

    Attributes:
        one: the first way.
        other: the second way.
        values: how many were compared.
        differing: how many are not equal, bit for bit.
        max_difference: the largest distance, as a real number or in integer steps.
        max_lsb: the same in steps of the output's scale; None for outputs without a scale.
        max_relative: the largest distance over the largest magnitude.
    """

    one: str
    other: str
    values: int
    differing: int
    max_difference: float
    max_lsb: float | None
    max_relative: float


class Conversion(Frozen):
    """One conversion.

    Attributes:
        source: what was read.
        target: the written file.
        bytes: of it.
        rewrites: what was changed.
        requantized: changes of numbers, one a layer.
        in_float: what computes in float though the model is quantized.
        saturating: operators that ONNX Runtime computes otherwise on some x86 CPUs.
        inputs: of the written file.
        outputs: of the written file.
        samples: how many inputs were compared; 0 where nothing was.
        differences: between the source and the written forms.
        notes: what could not be compared, and why.
        beside: files written beside the target.
    """

    source: Source
    target: str
    bytes: int
    rewrites: tuple[Rewrite, ...]
    requantized: tuple[Requantized, ...]
    in_float: tuple[InFloat, ...]
    saturating: tuple[Saturating, ...]
    inputs: tuple[Interface, ...]
    outputs: tuple[Interface, ...]
    samples: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    beside: tuple[str, ...] = ()
