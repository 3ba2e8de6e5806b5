"""The workstation: PyTorch or ONNX in, shippable files out."""
