"""What every stage stands on: files written whole, random streams, provenance, the machine.

Nothing here knows what an experiment is.
"""
