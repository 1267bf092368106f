"""Tier 2: hot flat 32-bit code and real mode as themselves, their memory accesses through the host's MMU."""
