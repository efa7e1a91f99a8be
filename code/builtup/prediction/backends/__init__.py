"""What runs the network: PyTorch, its compiler, or OpenVINO on a CPU, in float32 or in 8 bits."""

BACKENDS = ("torch", "torch-compile", "openvino", "openvino-int8", "auto")
