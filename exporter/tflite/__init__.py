"""From a graph to a .tflite file, through the flatbuffer schema's object API; no TensorFlow."""

from exporter.tflite.lower import lower, lower_file

__all__ = ["lower", "lower_file"]
