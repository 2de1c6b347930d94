"""mergesuite: a benchmark and replication harness for merging and evolving network weights.

Read `spec` (what an experiment is), then `methods/mega` (what a method looks like), then
`fitness` (how candidates are scored), then `compare` (how a claim gets its verdict).
"""

__version__ = "0.1.0"
