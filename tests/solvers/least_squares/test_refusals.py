"""Arguments that are refused, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl

X0 = {"a": np.ones(3), "width": np.ones(3)}
T = np.arange(4.0)


def residuals(x, t=T):
    return x["a"][:, None] * t + x["width"][:, None]


def wrong(**shapes):
    """Return a function whose Jacobian has given shapes."""
    good = {"a": (3, 4), "width": (3, 4)} | shapes
    return lambda x: (residuals(x), {name: np.zeros(shape) for name, shape in good.items()})


BATCH = {"batched": True}
CASES = [
    ({"jac": True}, TypeError, r"least_squares\(\) has no argument 'jac'; did you mean jacobian="),
    ({"f_scale": 2}, TypeError, "did you mean loss_scale="),
    ({"max_nfev": 2}, TypeError, "did you mean max_iterations="),
    ({"ftol": 2}, TypeError, "did you mean stop="),
    ({"method": "lm"}, ValueError, "method: is 'lm', expected 'auto'; it is what runs without bou"),
    ({"method": "dogbox"}, ValueError, "method: is 'dogbox', expected 'auto'$"),
    ({"loss": "hubr"}, ValueError, "unknown loss 'hubr'; did you mean 'huber'"),
    ({"loss": "huber", "loss_scale": 0}, ValueError, "loss_scale: is 0"),
    ({"jacobian": "3point"}, ValueError, "unknown jacobian '3point'; did you mean '3-point'"),
    ({"jacobian": False}, TypeError, "jacobian: is False, expected True, a function or one of"),
    ({"jacobian": True}, TypeError, r"fun: returned an ndarray, expected \(residuals, J\), since"),
    ({"weights": -1.0}, ValueError, "weights: some are negative or NaN"),
    ({"weights": np.full(4, np.nan)}, ValueError, "weights: some are negative or NaN"),
    ({"weights": np.ones(5)}, ValueError, r"weights: shape is \(5,\), expected \(3, 4\)"),
    ({"weights": np.ones((2, 4))}, ValueError, r"weights: shape is \(2, 4\), expected \(3, 4\)"),
    ({"x_scale": "jak"}, ValueError, "unknown x_scale 'jak'"),
    ({"x_scale": 0.0}, ValueError, "x_scale: some are not positive"),
    ({"x_scale": {"a": 1.0}}, ValueError, r"x_scale: missing x_scale\['width'\]"),
    ({"bounds": (2, 1)}, ValueError, r"bounds: the lower is above the upper at x0\['a'\], in prob"),
    ({"bounds": (2, 3)}, ValueError, r"x0: is outside its bounds at x0\['a'\], in problem 0"),
    (
        {"bounds": ({"a": 0, "width": 1.5}, None)},
        ValueError,
        r"outside its bounds at x0\['width'\]",
    ),
    ({"bounds": ({"a": 0}, None)}, ValueError, r"bounds, lower: missing bounds, lower\['width'\]"),
    ({"bounds": (np.zeros(7), None)}, ValueError, r"bounds, lower\['a'\]: shape is \(7,\), expec"),
    ({"bounds": 3}, TypeError, r"bounds: is 3, expected a pair \(lower, upper\)"),
    ({"chunk": 0}, ValueError, "chunk: is 0, expected an integer >= 1"),
    (
        {"batched_args": (np.ones((2, 4)),)},
        ValueError,
        r"batched_args\[0\]: shape is \(2, 4\), exp",
    ),
    ({"batched_args": (3.0,)}, TypeError, r"batched_args\[0\]: is a float, expected an array"),
    ({"record": ("fun",)}, ValueError, "unknown record 'fun'; known: cost, damping"),
    ({"callback": 3}, TypeError, "callback: is 3, expected a function"),
    ({"stop": 3}, TypeError, "stop: is a int, expected a condition"),
    ({"max_iterations": -1}, ValueError, "max_iterations: is -1"),
    ({"progress": 1}, TypeError, "progress: is 1, expected a bool"),
    ({"batched": 1}, TypeError, "batched: is 1, expected a bool"),
]


@pytest.mark.parametrize(("options", "error", "message"), CASES)
def test_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        fl.least_squares(residuals, X0, **{**BATCH, **options})


@pytest.mark.parametrize(
    ("fun", "error", "message"),
    [
        (
            wrong(width=(3, 4, 2)),
            ValueError,
            r"J\['width'\]: shape is \(3, 4, 2\), expected \(3, 4\)",
        ),
        (wrong(width=(4, 3)), ValueError, r"J\['width'\]: shape is \(4, 3\), expected \(3, 4\)"),
        (lambda x: (residuals(x), {"a": 1}), ValueError, r"J: missing J\['width'\]"),
        (lambda x: (residuals(x), 3), ValueError, "J: is an int, expected a dict"),
        (lambda x: (3.0, x), TypeError, "fun: its residuals: are a float, expected an array"),
        (lambda x: (np.ones(3, int)[:, None], x), TypeError, "fun: its residuals: dtype is int64"),
        (lambda x: (np.ones(4), x), ValueError, r"fun: its residuals: shape is \(4,\), expected a"),
        (
            lambda x: (np.ones((3, 4)) + 0j, dict.fromkeys(x, 1j)),
            TypeError,
            r"J\['a'\]: is a complex",
        ),
    ],
)
def test_what_functions_return_is_checked(fun, error, message):
    with pytest.raises(error, match=message):
        fl.least_squares(fun, X0, jacobian=True, **BATCH)


def test_residuals_keep_their_shape():
    calls = []

    def changing(x):
        calls.append(x)
        return np.ones((3, 4 if len(calls) < 3 else 5)) * x["a"][:, None]

    with pytest.raises(ValueError, match=r"its residuals: shape is \(3, 5\), expected \(3, 4\)"):
        fl.least_squares(changing, X0, **BATCH)
    calls.clear()

    def turning(x):
        calls.append(x)
        return np.ones((3, 4)) * x["a"][:, None] * (1 if len(calls) < 3 else 1j)

    with pytest.raises(TypeError, match="its residuals: are sometimes complex"):
        fl.least_squares(turning, X0, **BATCH)


def test_data_that_does_not_shrink_with_the_problems():
    y = np.outer(np.arange(100.0), np.ones(4))

    def closed(x):
        return residuals(x) - y

    start = {name: np.ones(100) for name in X0}
    with pytest.raises(ValueError, match="their data belong into batched_args"):
        fl.least_squares(closed, start, batched=True)


def test_starts_are_checked():
    with pytest.raises(ValueError, match="x0: has no elements"):
        fl.least_squares(lambda x: x, np.ones(0))
    with pytest.raises(TypeError, match=r"x0: dtype is int64, expected one of"):
        fl.least_squares(lambda x: x, np.ones(2, int))
    shared = "; parameters that problems share do not fit a batch: make one problem of them"
    with pytest.raises(ValueError, match=rf"x0\['width'\]: leading axis is 1, expected 3{shared}"):
        fl.least_squares(residuals, {"a": np.ones(3), "width": np.ones(1)}, batched=True)
    with pytest.raises(ValueError, match=rf"x0\['width'\]: has no axis, .* each problem{shared}"):
        fl.least_squares(residuals, {"a": np.ones(3), "width": np.asarray(1.0)}, batched=True)
    with pytest.raises(TypeError, match="bounds: are given, but x0 is complex"):
        fl.least_squares(lambda x: x, np.ones(2) * 1j, bounds=(0, 1))
    with pytest.raises(ValueError, match=r"batched_args\[0\]: is given, but batched is False"):
        fl.least_squares(lambda x, y: x, np.ones(2), batched_args=(np.ones(2),))
    with pytest.raises(TypeError, match="fun: is 3, expected a function"):
        fl.least_squares(3, np.ones(2))


FITS = [
    ({"sigma": -1.0}, ValueError, "sigma: some are not positive"),
    ({"sigma": np.zeros(4)}, ValueError, "sigma: some are not positive"),
    ({"weights": -np.ones(4)}, ValueError, "weights: some are negative"),
    ({"likelihood": "binomial"}, ValueError, "unknown likelihood 'binomial'; known: gaussian, poi"),
    ({"read_variance": 1.0}, ValueError, "read_variance: is given, but the likelihood is not 'poi"),
    (
        {"likelihood": "poisson", "sigma": 1.0},
        ValueError,
        "sigma: is given, but counts have the va",
    ),
    ({"likelihood": "poisson", "loss": "huber"}, ValueError, "loss: is 'huber', expected 'linear'"),
    ({"likelihood": "poisson", "ydata": T - 1}, ValueError, "ydata: some are negative"),
    ({"likelihood": "poisson", "read_variance": -1}, ValueError, "read_variance: some are negativ"),
    ({"batched_xdata": True}, ValueError, "batched_xdata: is True, but batched is False"),
    ({"ydata": T[:3]}, ValueError, r"f: its values: shape is \(4,\), expected \(3,\)"),
    ({"ydata": [1.0, 2.0]}, TypeError, "ydata: is a list, expected an array"),
    ({"jacobian": True}, TypeError, r"f: returned an ndarray, expected \(values, J\), since"),
    ({"loss": "hubr"}, ValueError, "unknown loss 'hubr'"),
    ({"f": 3}, TypeError, r"f: is 3, expected a function f\(x, params\)"),
]


@pytest.mark.parametrize(("options", "error", "message"), FITS)
def test_arguments_of_curve_fit_are_refused(options, error, message):
    options = dict(options)
    f, y = options.pop("f", lambda t, p: p[0] * t + p[1]), options.pop("ydata", T)
    with pytest.raises(error, match=message):
        fl.curve_fit(f, T, y, np.ones(2), **options)
