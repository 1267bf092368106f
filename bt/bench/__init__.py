"""Measuring: the same guests under our engines and under others, and what to make of the numbers."""
