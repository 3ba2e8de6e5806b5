"""What a model file holds, layer by layer: .tflite, .onnx and .ort, of any tool; nothing is run."""

from exporter.inspection.files import inspect_model
from exporter.inspection.report import LayerReport, ModelReport, ValueReport, WeightReport

__all__ = ["LayerReport", "ModelReport", "ValueReport", "WeightReport", "inspect_model"]
