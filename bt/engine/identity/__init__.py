"""Tier 2: hot flat 32-bit code as itself, registers renamed, its memory accesses through the host's MMU."""
