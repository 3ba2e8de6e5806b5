"""One lowering a function, in small files by family. Importing this registers them all."""

from exporter.tflite.ops import activation, boundary, conv, dense, elementwise, pool, shape

__all__ = ["activation", "boundary", "conv", "dense", "elementwise", "pool", "shape"]
