"""Greedy decoding on the CPU with ONNX Runtime: token ids in, token ids and log-probabilities out."""
