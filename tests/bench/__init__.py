"""Measuring itself: arithmetic, choice of work, report."""
