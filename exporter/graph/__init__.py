"""The canonical graph: the one QDQ ONNX form that everything shipped is a lowering of."""
