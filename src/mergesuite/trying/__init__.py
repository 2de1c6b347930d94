"""Everything at once on one set of parents: what merging is worth here, with every free control.

`compare.compare` is the whole of it; `mergesuite try` and `from mergesuite import compare` are two
ways to call it. The methods are run by the stage that the workflow runs, `stages.merge`.
"""
