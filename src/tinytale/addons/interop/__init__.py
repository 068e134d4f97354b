"""Other programs: models for elsewhere and from elsewhere: GGUF, ONNX, folders for transformers, the Hub."""
