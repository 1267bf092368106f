"""One-line test cases: the model, the parser, the comparison and the recorder."""
