"""What solvers reach on all functions of Moré, Garbow and Hillstrom, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy.optimize", reason="the table compares with SciPy's solvers")

from . import table


@pytest.fixture(scope="module")
def found():
    return table.table()


def summed(found, name, bounds):
    """Return what was solved, the false successes and the evaluations, over the three starts."""
    runs = [run for factor in (1, 10, 100) for run in found[name, bounds, factor].values()]
    verdicts = [verdict for verdict, _ in runs]
    solved = verdicts.count("solved") + verdicts.count("timid")
    return solved, verdicts.count("false"), sum(result.nfev for _, result in runs)


@pytest.mark.parametrize(
    ("name", "bounds", "peer", "more", "part"),
    [
        ("lbfgs", "none", "SciPy L-BFGS-B", 1, 0.5),
        ("lbfgsb", "none", "SciPy L-BFGS-B", 1, 0.5),
        ("cg", "none", "SciPy CG", 0, 1.0),
        ("lbfgsb", "Gay's", "SciPy L-BFGS-B", 0, 0.5),
        ("lbfgsb", "1e7", "SciPy L-BFGS-B", 0, 0.5),
        ("least_squares", "none", "SciPy lm", 3, 0.2),
        ("least_squares", "Gay's", "SciPy trf", 0, 1.0),
    ],
)
def test_more_is_solved_and_less_is_claimed(found, name, bounds, peer, more, part):
    solved, false, _ = summed(found, name, bounds)
    theirs, false_of_theirs, _ = summed(found, peer, bounds)
    assert solved >= theirs + more
    assert false <= part * false_of_theirs
    for factor, most in ((1, 2), (10, 3), (100, 3)):
        verdicts = [verdict for verdict, _ in found[name, bounds, factor].values()]
        assert verdicts.count("timid") <= most


@pytest.mark.parametrize(("name", "most"), [("lbfgs", 1.15), ("lbfgsb", 1.5)])
def test_what_both_solve_takes_as_many_evaluations(found, name, most):
    for factor in (1, 10, 100):
        ours, theirs = (found[x, "none", factor] for x in (name, "SciPy L-BFGS-B"))
        both = [p for p in ours if "solved" == ours[p][0] == theirs[p][0]]
        assert np.median([ours[p][1].nfev / theirs[p][1].nfev for p in both]) <= most


def test_far_away_bounds_cost_next_to_nothing(found):
    *_, bounded = summed(found, "lbfgsb", "1e7")
    *_, free = summed(found, "lbfgsb", "none")
    assert bounded <= 1.2 * free
    for factor in (1, 10, 100):
        ours, theirs = (found[x, "1e7", factor] for x in ("lbfgsb", "SciPy L-BFGS-B"))
        both = [p for p in ours if "solved" == ours[p][0] == theirs[p][0]]
        assert sum(ours[p][1].nfev for p in both) <= 1.5 * sum(theirs[p][1].nfev for p in both)
