"""``python -m tests.solvers.table``: our methods and SciPy's on all functions of `mgh`.

Each is run with its own default conditions of stopping, from the usual start, 10 and 100 times it.
A run has *solved* its problem if the value is within 1e-6 of a known minimum; it is a *false*
success if it claims one and is not within 1e-5 of any, and *timid* if it has solved the problem
and does not claim it. Evaluations are summed over all runs; the ratio to SciPy's is a median over
the problems that both solve.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
from scipy import optimize

import fallline as fl

from . import more_garbow_hillstrom as mgh

FAR = 1e7


def ours(method):
    def run(problem, x0, bounds):
        pairs = None if bounds is None else list(zip(*bounds, strict=True))
        return fl.minimize(problem, x0, method=method, bounds=pairs)

    return run


def scipys(method):
    def run(problem, x0, bounds):
        pairs = None if bounds is None else list(zip(*bounds, strict=True))
        return optimize.minimize(problem, x0, jac=True, method=method, bounds=pairs)

    return run


def squares(solve):
    """Return a run by the residuals and their Jacobian, with the sum of squares as its value."""

    def run(problem, x0, bounds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of covariances that are infinite
            try:
                found = solve(problem, x0, bounds)
            except ValueError:  # SciPy's, where the start is not finite
                return SimpleNamespace(fun=np.inf, success=False, nfev=1)
        return SimpleNamespace(fun=2 * found.cost, success=found.success, nfev=found.nfev)

    return run


@squares
def our_squares(problem, x0, bounds):
    return fl.least_squares(problem.residuals, x0, jacobian=True, bounds=bounds)


@squares
def scipys_squares(problem, x0, bounds):
    more = {"method": "lm"} if bounds is None else {"bounds": bounds}
    r, j = (lambda x, i=i: problem.residuals(x)[i] for i in range(2))
    return optimize.least_squares(r, x0, j, **more)


# The name of the row, which bounds, the run, and the row that it is compared with.
ROWS = [
    ("lbfgs", "none", ours("lbfgs"), "SciPy L-BFGS-B"),
    ("lbfgsb", "none", ours("lbfgsb"), "SciPy L-BFGS-B"),
    ("SciPy L-BFGS-B", "none", scipys("L-BFGS-B"), None),
    ("cg", "none", ours("cg"), "SciPy CG"),
    ("SciPy CG", "none", scipys("CG"), None),
    ("lbfgsb", "Gay's", ours("lbfgsb"), "SciPy L-BFGS-B"),
    ("SciPy L-BFGS-B", "Gay's", scipys("L-BFGS-B"), None),
    ("lbfgsb", "1e7", ours("lbfgsb"), "SciPy L-BFGS-B"),
    ("SciPy L-BFGS-B", "1e7", scipys("L-BFGS-B"), None),
    ("least_squares", "none", our_squares, "SciPy lm"),
    ("SciPy lm", "none", scipys_squares, None),
    ("least_squares", "Gay's", our_squares, "SciPy trf"),
    ("SciPy trf", "Gay's", scipys_squares, None),
]


def bounds_of(problem, kind, x0):
    """Return the bounds of a problem, and the values of its minima within them."""
    if kind == "Gay's":
        return problem.bounds, [one["value"] for one in problem.bounded]
    bounds = None if kind == "none" else (x0 - FAR, x0 + FAR)
    return bounds, [one["value"] for one in problem.minima]


def judged(result, values):
    """Return the verdict on a result."""
    near = min((abs(result.fun - v) - 1e-6 * abs(v) for v in values), default=np.inf)
    close = min((abs(result.fun - v) - 1e-5 * (1 + abs(v)) for v in values), default=np.inf)
    if near <= 1e-9:
        return "solved" if result.success else "timid"
    return "false" if result.success and not close <= 0 else ""


def table(factors=(1, 10, 100), only=""):
    """Return the numbers of all rows, by name, bounds and factor of the start."""
    found = {}
    for name, kind, run, _ in ROWS:
        for factor in factors:
            runs = found[name, kind, factor] = {}
            for problem in mgh.load():
                if only not in problem.name or (kind == "Gay's" and problem.bounds is None):
                    continue
                x0 = problem.start(factor)
                bounds, values = bounds_of(problem, kind, x0)
                x0 = x0 if bounds is None else np.clip(x0, *bounds)
                with np.errstate(all="ignore"):
                    result = run(problem, x0, bounds)
                runs[problem.name] = judged(result, values), result
    return found


def main(only=""):
    """Print the table, and below it who is false, timid or unsolved."""
    found = table(only=only)
    print(
        f"{'':16}{'bounds':>8}{'x0':>5}{'solved':>8}{'false':>7}{'timid':>7}{'evals':>9}{'ratio':>7}"
    )
    lists = defaultdict(list)
    for name, kind, _, peer in ROWS:
        for factor in (1, 10, 100):
            runs = found[name, kind, factor]
            verdicts = [verdict for verdict, _ in runs.values()]
            solved = {p for p, (verdict, _) in runs.items() if verdict in ("solved", "timid")}
            others = found[peer, kind, factor] if peer else {}
            both = [p for p in solved if p in others and others[p][0] in ("solved", "timid")]
            ratios = [runs[p][1].nfev / others[p][1].nfev for p in both]
            ratio = f"{np.median(ratios):.2f}" if ratios else ""
            evaluations = sum(result.nfev for _, result in runs.values())
            print(
                f"{name:16}{kind:>8}{factor:>5}{len(solved):>5}/{len(runs):<2}"
                f"{verdicts.count('false'):>7}{verdicts.count('timid'):>7}"
                f"{evaluations:>9}{ratio:>7}"
            )
            for p, (verdict, result) in runs.items():
                if verdict in ("false", "timid"):
                    lists[name, kind, factor].append(f"{verdict} {p} {result.fun:.4g}")
    for (name, kind, factor), entries in lists.items():
        print(f"\n{name}, bounds {kind}, {factor} x0: {'; '.join(entries)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
