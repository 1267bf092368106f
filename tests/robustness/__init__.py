"""Guests that mean harm: whatever they execute, the VMM must stay up and the engines must agree."""
