"""Faults on purpose: each patch breaks bt in one place and names the test that must turn red (see README.md)."""
