"""Phase A: prune and share weights on the user's own module, in place, in the user's own loop."""

from exporter.compress.compressor import Compressor, compress
from exporter.compress.plan import Levels, Plan
from exporter.compress.schedule import Ramp

__all__ = ["Compressor", "Levels", "Plan", "Ramp", "compress"]
