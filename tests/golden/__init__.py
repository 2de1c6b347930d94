"""Replays of recorded runs of the released code."""
