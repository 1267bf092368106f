"""The monitor: QEMU's human commands, each a function of the machine. monitor.py has the tables together."""
