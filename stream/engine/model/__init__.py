"""A checkpoint as an ONNX graph: configuration, weights, graph, session."""
