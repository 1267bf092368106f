"""bt: a virtual machine monitor that runs unmodified x86 guests by dynamic binary translation."""

__version__ = "0.1.0"
