"""What runs the network: PyTorch, or OpenVINO on a CPU, in float32 or in 8 bits."""

BACKENDS = ("torch", "openvino", "openvino-int8", "auto")
