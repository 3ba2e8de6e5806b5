"""Let the graph give integers: take away the DequantizeLinear before each output."""

from __future__ import annotations

import onnx_ir as ir

from exporter.graph.onnx_edit import required_constant


def integer_output(model: ir.Model) -> bool:
    """Float outputs → int8 or int16 outputs; return whether anything changed.

    An output that no DequantizeLinear gives stays as it is.
    """
    modified = False
    outputs = model.graph.outputs
    for index, value in enumerate(outputs):
        producer = value.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            continue
        integers = producer.inputs[0]
        name, value.name = value.name, f"{value.name}_real"
        integers.name, integers.shape = name, value.shape
        point = required_constant(producer, 2)
        integers.type = ir.TensorType(ir.DataType.from_numpy(point.dtype))
        outputs[index] = integers
        modified = True
    return modified
