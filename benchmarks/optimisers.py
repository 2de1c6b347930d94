"""Our differential evolution against other people's, on functions whose optimum is known.

Both sides start from the same populations, may evaluate equally often, and are judged by the best
value among the evaluations that this file counted, not by what they report. `COMPARISONS` says
who is set against whom and with which settings; docs/optimisers.md reads the result.

scipy and pymoo come with the development set-up. mealpy and minionpy are optional: where one is
missing, its comparisons are left out and named.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.stats
import torch
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests
from tqdm import tqdm

from mergesuite.core import digests, frames, provenance, store, streams
from mergesuite.methods import create

Array = NDArray[np.float64]

MEMBERS = 50
DIMENSIONS = (10, 30)
START, BOUND = 5.0, 100.0
"""Populations start in [-START, START]; those who insist on bounds get +-BOUND, far away."""
FLOOR = 1e-25
"""Below this a value is the rounding of x - optimum, and counts as 0."""
F, CR = 0.5, 0.9
MARKS = ("<!-- table -->", "<!-- end of table -->")


def sphere(z: Array) -> Array:
    return (z**2).sum(-1)


def rastrigin(z: Array) -> Array:
    # 10 (1 - cos 2 pi z) = 20 sin^2 pi z, which does not cancel near the optimum.
    return (z**2 + 20 * np.sin(np.pi * z) ** 2).sum(-1)


def rosenbrock(z: Array) -> Array:
    x = z + 1
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


FUNCTIONS = {"sphere": sphere, "rastrigin": rastrigin, "rosenbrock": rosenbrock}


class Problem:
    """A shifted function, the population to start from, and a count of evaluations."""

    def __init__(self, function: str, d: int, seed: int, budget: int) -> None:
        """The shift is the function's; the population is the seed's."""
        shift = np.random.default_rng(streams.derive("optimisers", "shift", function, d))
        start = np.random.default_rng(streams.derive("optimisers", "start", function, d, seed))
        self.optimum = shift.uniform(-2, 2, d)
        self.population = start.uniform(-START, START, (MEMBERS, d))
        self.function, self.d, self.budget = FUNCTIONS[function], d, budget
        self.stream = (function, d, seed)
        self.count, self.best = 0, math.inf

    def __call__(self, x: Any) -> Array:
        """`(n,)` values of `x` `(n, d)`, or one of `(d,)`; those beyond the budget do not count."""
        values = self.function(np.asarray(x, dtype=np.float64) - self.optimum)
        counted = np.atleast_1d(values)[: max(self.budget - self.count, 0)]
        self.best = min(self.best, float(counted.min(initial=math.inf)))
        self.count += np.size(values)
        return values

    @property
    def generations(self) -> int:
        """Whole generations after the population itself has been evaluated."""
        return self.budget // MEMBERS - 1

    def rng(self, name: str) -> np.random.Generator:
        """The stream of the side called `name`."""
        return np.random.default_rng(streams.derive("optimisers", name, *self.stream))


def ours(problem: Problem, name: str, **params: Any) -> None:
    method = create(name, **params)
    parents = torch.from_numpy(problem.population)
    rng = streams.generator("optimisers", name, *problem.stream)
    method.start(parents, torch.from_numpy(-problem(problem.population)), rng)
    while (proposal := method.ask()) is not None:
        scores = torch.from_numpy(-problem(proposal.candidates.numpy()))
        method.tell(scores, scores > proposal.thresholds)


def de(problem: Problem) -> None:
    ours(problem, "de", F=F, CR=CR, generations=problem.generations)


def shade(problem: Problem) -> None:
    # As many slots as members: mealpy offers no other choice.
    ours(problem, "shade", generations=problem.generations, memory=MEMBERS)


def lshade_epsin(problem: Problem) -> None:
    ours(problem, "lshade-epsin", evaluations=problem.budget - MEMBERS)


def scipy_de(problem: Problem) -> None:
    population: Any = problem.population  # declared as the name of a design only
    scipy.optimize.differential_evolution(
        lambda x: problem(x.T),
        [(-BOUND, BOUND)] * problem.d,
        strategy="rand1bin",
        mutation=F,
        recombination=CR,
        maxiter=problem.generations,
        init=population,
        tol=0,
        polish=False,
        updating="deferred",
        vectorized=True,
        rng=problem.rng("scipy"),
    )


def pymoo_de(problem: Problem) -> None:
    from pymoo.algorithms.soo.nonconvex.de import DE, Variant
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.operators.control import NoParameterControl
    from pymoo.optimize import minimize

    class Task(PymooProblem):
        def _evaluate(self, x, out, *args, **kwargs):
            out["F"] = problem(x)[:, None]

    # Its signatures declare what their defaults happen to be.
    control: Any = NoParameterControl
    sampling: Any = problem.population
    # Its default adds a polynomial mutation to every tenth trial; DE/rand/1/bin has none.
    variant: Any = Variant(
        selection="rand", n_diffs=1, F=F, crossover="bin", CR=CR, prob_mut=0.0, control=control
    )
    minimize(
        Task(n_var=problem.d, n_obj=1, xl=-BOUND, xu=BOUND),
        DE(pop_size=MEMBERS, sampling=sampling, variant=variant),
        ("n_gen", problem.generations + 1),
        seed=int(problem.rng("pymoo").integers(2**31)),
    )


def mealpy_shade(problem: Problem) -> None:
    mealpy = importlib.import_module("mealpy")
    # It draws F from scipy's distribution object, past its own generator.
    scipy.stats.cauchy.random_state = problem.rng("mealpy F")
    bounds = mealpy.FloatVar(lb=(-BOUND,) * problem.d, ub=(BOUND,) * problem.d)
    mealpy.SHADE.OriginalSHADE(epoch=problem.generations, pop_size=MEMBERS).solve(
        {
            "bounds": bounds,
            "obj_func": lambda x: float(problem(x)),
            "minmax": "min",
            "log_to": None,
        },
        starting_solutions=problem.population,
        seed=int(problem.rng("mealpy").integers(2**31)),
    )


def minion(algorithm: str, **options: Any) -> Callable[[Problem], None]:
    """A runner of minionpy's `algorithm`; its stopping rules are off."""

    def run(problem: Problem) -> None:
        minionpy = importlib.import_module("minionpy")
        getattr(minionpy, algorithm)(
            lambda x: problem(x).tolist(),
            [(-BOUND, BOUND)] * problem.d,
            x0=problem.population.tolist(),
            maxevals=problem.budget,
            seed=int(problem.rng("minionpy").integers(2**31)),
            options={"population_size": MEMBERS, "x_tol": -1.0, "f_tol": -1.0, **options},
        ).optimize()

    return run


@dataclass
class Comparison:
    """One of our methods, and someone else's."""

    ours: str
    theirs: str
    package: str
    run: Callable[[Problem], None]


OURS = {"de": de, "shade": shade, "lshade-epsin": lshade_epsin}
COMPARISONS = (
    Comparison("de", "scipy DE", "scipy", scipy_de),
    Comparison("de", "pymoo DE", "pymoo", pymoo_de),
    Comparison("shade", "mealpy SHADE", "mealpy", mealpy_shade),
    Comparison(
        "shade", "minionpy L-SHADE, all members kept", "minionpy",
        minion("LSHADE", minimum_population_size=MEMBERS, memory_size=MEMBERS,
               archive_size_ratio=1.0),
    ),
    Comparison("lshade-epsin", "minionpy L-SHADE", "minionpy", minion("LSHADE")),
    Comparison(
        "lshade-epsin", "minionpy L-SHADE-cnEpSin, unrotated", "minionpy",
        minion("LSHADE_cnEpSin", rotation_probability=0.0),
    ),
    Comparison(
        "lshade-epsin", "minionpy L-SHADE-cnEpSin", "minionpy", minion("LSHADE_cnEpSin"),
    ),
)  # fmt: skip


def there(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def measure(comparisons: list[Comparison], seeds: int, budget: int) -> pd.DataFrame:
    """One row per run: function, d, name, seed, evaluations, value."""
    runners = {name: OURS[name] for name in dict.fromkeys(c.ours for c in comparisons)}
    runners |= {c.theirs: c.run for c in comparisons}
    jobs = [
        (function, d, name, seed)
        for function in FUNCTIONS
        for d in DIMENSIONS
        for name in runners
        for seed in range(seeds)
    ]
    rows = []
    for function, d, name, seed in tqdm(jobs, unit="run"):
        problem = Problem(function, d, seed, budget)
        runners[name](problem)
        value = problem.best if problem.best >= FLOOR else 0.0
        rows.append((function, d, name, seed, problem.count, value))
    return pd.DataFrame(rows, columns=["function", "d", "name", "seed", "evaluations", "value"])


def verdict(ours: Array, theirs: Array) -> str:
    """By our median: below all of theirs, within their range over seeds, or above all of them."""
    median = float(np.median(ours))
    if median > theirs.max():
        return "behind"
    return "better" if median < theirs.min() else "on par"


def summarise(runs: pd.DataFrame, comparisons: list[Comparison]) -> pd.DataFrame:
    """One row per function, d and comparison: medians, quartiles, verdict, Holm-adjusted p."""
    values = {
        key: part["value"].to_numpy() for key, part in runs.groupby(["function", "d", "name"])
    }
    rows = []
    for comparison in comparisons:
        for function in FUNCTIONS:
            for d in DIMENSIONS:
                a = values[function, d, comparison.ours]
                b = values[function, d, comparison.theirs]
                p = float(scipy.stats.mannwhitneyu(a, b).pvalue)
                rows.append(
                    (comparison.ours, comparison.theirs, function, d, quartiles(a), quartiles(b),
                     verdict(a, b), p)
                )  # fmt: skip
    table = pd.DataFrame(
        rows, columns=["method", "against", "function", "d", "ours", "theirs", "verdict", "p"]
    )
    table["p"] = [f"{p:.2g}" for p in np.asarray(multipletests(table["p"], method="holm")[1])]
    return table


def quartiles(values: Array) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2g} ({low:.2g} to {high:.2g})"


def figure(runs: pd.DataFrame, path: Path) -> None:
    """Every run as a dot, every median as a bar; values of 0 lie on the lower edge."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mergesuite"
    from matplotlib import pyplot

    names = list(dict.fromkeys(runs["name"]))
    shape = (len(DIMENSIONS), len(FUNCTIONS))
    drawing, axes = pyplot.subplots(*shape, figsize=(11, 6), sharey=True, layout="constrained")
    for row, d in zip(axes, DIMENSIONS, strict=True):
        for axis, function in zip(row, FUNCTIONS, strict=True):
            part = runs[(runs["function"] == function) & (runs["d"] == d)]
            for at, name in enumerate(names):
                values = part.loc[part["name"] == name, "value"].clip(lower=FLOOR)
                colour = "#0072B2" if name in OURS else "#D55E00"
                axis.plot(values, [at] * len(values), "o", color=colour, ms=3, alpha=0.5)
                axis.plot(values.median(), at, "|", color=colour, ms=13, mew=2)
            axis.set(xscale="log", title=f"{function}, d = {d}", ylim=(len(names) - 0.4, -0.6))
            axis.set_yticks(range(len(names)), names)
    drawing.supxlabel("best value found (optimum 0); blue: ours, red: others")
    with store.whole(path) as temporary:
        drawing.savefig(temporary, format="svg", metadata={"Date": None})


def origin(runs: pd.DataFrame, packages: list[str], seeds: int, budget: int) -> str:
    """The line under the table that says where its numbers come from."""
    commit, dirty = provenance.commit()
    code = digests.code("methods.de", "methods.shade", "methods.lshade_epsin")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    most = int(runs["evaluations"].max())
    return (
        f"n = {seeds} seeds, {budget} evaluations, {MEMBERS} members (most asked for by anyone: "
        f"{most}; what is beyond the budget was not counted). Commit {commit}"
        f"{' with changes' if dirty else ''}, code of the three methods {code}, {versions}, torch "
        f"{torch.__version__.split('+')[0]}, numpy {np.__version__}. p: two-sided rank-sum test, "
        "Holm-adjusted over the table."
    )


def insert(path: Path, text: str) -> None:
    """Put `text` between the marks of a Markdown file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    store.write_text(path, f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="de, shade and lshade-epsin against scipy, pymoo, mealpy and minionpy.",
        epilog="example: python benchmarks/optimisers.py --seeds 10 --evaluations 15000 --out docs",
    )
    parser.add_argument("--seeds", type=int, default=10, help="runs of each (default: 10)")
    parser.add_argument("--evaluations", type=int, default=15_000, help="budget (default: 15000)")
    parser.add_argument("--out", type=Path, help="folder of optimisers.{csv,svg,md} to renew")
    options = parser.parse_args()
    if options.seeds < 2 or options.evaluations < 2 * MEMBERS:
        parser.error(f"at least 2 seeds and {2 * MEMBERS} evaluations are needed")
    torch.set_num_threads(1)
    packages = list(dict.fromkeys(c.package for c in COMPARISONS))
    missing = [name for name in packages if not there(name)]
    for name in missing:
        print(f"{name} is not installed: its comparisons are left out")
    comparisons = [c for c in COMPARISONS if c.package not in missing]
    runs = measure(comparisons, options.seeds, options.evaluations)
    present = [name for name in packages if name not in missing]
    text = summarise(runs, comparisons).to_markdown(index=False, disable_numparse=True)
    text += "\n\n" + origin(runs, present, options.seeds, options.evaluations)
    if missing:
        text += f" Left out, not installed: {', '.join(missing)}."
    print(text)
    if options.out:
        frames.write_csv(options.out / "optimisers.csv", runs)
        figure(runs, options.out / "optimisers.svg")
        insert(options.out / "optimisers.md", f"{text}\n\n![every run](optimisers.svg)")


if __name__ == "__main__":
    main()
