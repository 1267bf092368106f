"""Independent executors of user-mode code that the engines are compared with."""
