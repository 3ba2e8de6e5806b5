"""From the canonical graph to the files that ONNX Runtime runs fast and exactly."""
