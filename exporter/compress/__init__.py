"""Phase A: prune and share weights on the user's own module, in place, in the user's own loop."""

from exporter.compress.compressor import Compressor, compress

__all__ = ["Compressor", "compress"]
