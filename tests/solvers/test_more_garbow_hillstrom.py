"""The test functions themselves: their Jacobians, their data, and the minima that are listed."""

from __future__ import annotations

import numpy as np
import pytest

from . import more_garbow_hillstrom as mgh

PROBLEMS = mgh.load()
EVERY = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def test_all_35_functions_are_there():
    assert {problem.number for problem in PROBLEMS} == set(range(1, 36))
    assert len({problem.name for problem in PROBLEMS}) == len(PROBLEMS)


@EVERY
def test_jacobians_are_those_of_the_residuals(problem):
    shift = np.random.default_rng(problem.number).uniform(0.05, 0.2, problem.x0.size)
    for x in (problem.x0, problem.x0 + shift):
        r, j = problem.residuals(x)
        assert r.shape == (problem.m,)
        assert j.shape == (problem.m, x.size)
        steps = np.diag(1e-6 * np.maximum(1, abs(x)))
        columns = [
            (problem.residuals(x + h)[0] - problem.residuals(x - h)[0]) / (2 * h.sum())
            for h in steps
        ]
        rounding = 1e-10 * np.abs(r).max() / 1e-6
        np.testing.assert_allclose(np.transpose(columns), j, rtol=1e-6, atol=rounding + 1e-7)


def assert_is_a_minimum(problem, value, x, free):
    r, j = problem.residuals(x)
    assert abs(float(r @ r) - value) <= 1e-7 * abs(value) + 1e-10
    sizes = np.linalg.norm(j, axis=0) * np.linalg.norm(r)
    # The second term is for minima at infinity, which are listed by a point far away.
    assert np.all(np.abs(j.T @ r)[free] <= 1e-6 * sizes[free] + 1e-12) or r @ r < 1e-20


@EVERY
def test_the_listed_minima_are_attained(problem):
    values = [one["value"] for one in problem.minima]
    assert values == sorted(values)
    for one in problem.minima:
        x = np.array(one["x"])
        assert_is_a_minimum(problem, one["value"], x, np.full(x.size, True))


@pytest.mark.parametrize(
    "problem", [p for p in PROBLEMS if p.bounds is not None], ids=lambda problem: problem.name
)
def test_the_listed_minima_between_bounds_are_attained(problem):
    low, high = problem.bounds
    assert problem.bounded
    for one in problem.bounded:
        x = np.array(one["x"])
        assert np.all((low <= x) & (x <= high))
        gradient = problem(x)[1]
        stays = ((x == low) & (gradient >= 0)) | ((x == high) & (gradient <= 0))
        assert_is_a_minimum(problem, one["value"], x, ~stays)
