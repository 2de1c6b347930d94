"""Reported against measured: samples, statistics, gains, verdicts, pinned numbers."""
