"""The Python API misused: an exception that says what, never a signal, never silence."""
