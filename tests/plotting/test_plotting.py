"""Plots show the numbers they are given, on the axes they are given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fallline as fl
from fallline.plotting import _axes

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plotting = fl.plotting


@pytest.fixture
def ax():
    from matplotlib import pyplot as plt

    yield plt.figure().add_subplot()
    plt.close("all")


@pytest.fixture(autouse=True)
def settings():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    pytest.importorskip("matplotlib.pyplot").close("all")


def drawn(ax):
    """Return the labelled lines of axes: x and y by label."""
    ax.figure.canvas.draw()
    lines = {line.get_label(): line.get_data() for line in ax.lines}
    return {label: tuple(map(np.asarray, xy)) for label, xy in lines.items()}


def fitted(method="adam", array=np.asarray, **more):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    model = fl.LinearModel(fl.losses.SquaredError(), fl.L2(0.1))
    if method == "adam":
        more = {"method": fl.Adam(0.05), "batch_size": 20, "epochs": 7, "rng": 0, **more}
    else:
        more = {"method": method, **more}
    X, y = array(X), array(y)
    return fl.fit(model, (X[:40], y[:40]), validation=(X[40:], y[40:]), **more)


def bowl(x):
    return x[0] ** 2 + 10 * x[1] ** 2, np.stack([2 * x[0], 20 * x[1]])


# -- curves ---------------------------------------------------------------------------------------


def test_curves_of_a_fit(ax):
    res = fitted()
    assert plotting.loss_curves(res, ax) is ax
    lines = drawn(ax)
    assert list(lines) == ["loss", "validation loss"]
    np.testing.assert_array_equal(lines["loss"][0], np.arange(1, 8))
    np.testing.assert_array_equal(lines["loss"][1], res.history["loss"])
    np.testing.assert_array_equal(lines["validation loss"][1], res.history["validation_loss"])
    (dot,) = ax.collections
    best = np.argmin(res.history["validation_loss"])
    np.testing.assert_allclose(
        dot.get_offsets(), [[best + 1, res.history["validation_loss"][best]]]
    )
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "loss", "linear")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["loss", "validation loss"]
    assert all(float(t) == int(t) for t in ax.get_xticks())


def test_steps_are_spread_over_the_epochs(ax):
    res = fitted()
    plotting.loss_curves(res, ax, names=["step_loss", "loss"])
    x, y = drawn(ax)["step loss"]
    np.testing.assert_allclose(x, np.arange(1, 15) / 2)
    np.testing.assert_array_equal(y, res.history["step_loss"])
    assert ax.get_xlabel() == "epoch"
    alone = plotting.loss_curves(res, names="step_loss")
    np.testing.assert_array_equal(drawn(alone)["step loss"][0], np.arange(1, 15))
    assert (alone.get_xlabel(), alone.get_ylabel()) == ("step", "step loss")
    assert alone.get_legend() is None


def test_curves_of_a_solver(ax):
    plotting.loss_curves(fitted("lbfgs"), ax)
    assert ax.get_xlabel() == "iteration"
    assert drawn(ax)["loss"][0][0] == 1


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_curves_of_minimize(kind, ax):
    start = np.asarray([2.0, 1.0])
    if kind == "torch":
        torch = pytest.importorskip("torch")
        start = torch.from_numpy(start)

        def fun(x):
            return x[0] ** 2 + 10 * x[1] ** 2, torch.stack([2 * x[0], 20 * x[1]])
    else:
        fun = bowl
    res = fl.minimize(fun, start, method=fl.SGD(0.04), max_iterations=40, check_every=4)
    assert plotting.loss_curves(res, ax) is ax
    x, y = drawn(ax)["value"]
    np.testing.assert_array_equal(x, np.arange(len(res.history["fun"])))
    np.testing.assert_array_equal(y, res.history["fun"])
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("iteration", "value", "log")
    counted = fl.minimize(
        fun, start, method=fl.SGD(0.04), max_iterations=40, check_every=4, record=["fun", "nit"]
    )
    x, _ = drawn(plotting.loss_curves(counted))["value"]
    np.testing.assert_array_equal(x, np.arange(0, 41, 4))


@pytest.mark.parametrize("take", [lambda r: r, lambda r: r.history, lambda r: dict(r.history)])
def test_torch_runs(take, ax):
    torch = pytest.importorskip("torch")
    ours, theirs = fitted(), fitted(array=torch.from_numpy)
    plotting.loss_curves(take(theirs), ax)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(drawn(ax)[name.replace("_", " ")][1], ours.history[name])


def test_sequences_of_any_library(backend, ax):
    values = np.asarray([3.0, 2.0, 1.0])
    listed = [backend.array(np.asarray(v)) for v in values]
    for i, source in enumerate((values, values.tolist(), backend.array(values), listed)):
        plotting.loss_curves(source, ax)
        x, y = ax.lines[i].get_data()
        np.testing.assert_array_equal(x, [1, 2, 3])
        np.testing.assert_array_equal(y, values)
    colours = [line.get_color() for line in ax.lines]
    assert len(set(colours)) == 4


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1.0, 0.5, 0.1], "linear"),
        ([1.0, 0.5, 0.001], "log"),
        ([1.0, 0.001, -0.1], "linear"),
        ([1.0, 0.001, 0.0], "log"),
        ([0.0, 0.0], "linear"),
        ([1.0, np.nan, 1e-3, np.inf], "log"),
    ],
)
def test_scales(values, scale):
    ax = plotting.loss_curves(values)
    drawn(ax)
    assert ax.get_yscale() == scale


def test_scale_and_labels_of_axes_in_use_stay(ax):
    ax.plot([1, 2])
    ax.set(xlabel="mine", ylabel="too")
    plotting.loss_curves([1.0, 1e-9], ax)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("mine", "too", "linear")
    assert ax.lines[1].get_color() == _axes.COLOURS[1]


# -- several runs -----------------------------------------------------------------------------


def test_compare(ax):
    runs = {"fit": fitted(), "solver": fl.minimize(bowl, np.ones(2)), "numbers": [1.0, 2.0]}
    assert plotting.compare(runs, ax) is ax
    lines = drawn(ax)
    np.testing.assert_array_equal(lines["fit"][1], runs["fit"].history["loss"])
    np.testing.assert_array_equal(lines["solver"][1], runs["solver"].history["fun"])
    np.testing.assert_array_equal(lines["solver"][0], np.arange(runs["solver"].nit + 1))
    np.testing.assert_array_equal(lines["numbers"], ([1, 2], [1.0, 2.0]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch or iteration", "loss")
    assert len(ax.get_legend().get_texts()) == 3


def test_compare_over_something_else(ax):
    runs = {"a": {"loss": [5.0, 4.0, 3.01], "seconds": [1.0, 1.0, 2.0], "nfev": [1, 4, 6]}}
    plotting.compare(runs, ax, over="seconds", minimum=3.0)
    np.testing.assert_allclose(drawn(ax)["a"], ([1.0, 2.0, 4.0], [2.0, 1.0, 0.01]))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("seconds", "loss - 3", "log")
    second = plotting.compare(runs, over="nfev")
    np.testing.assert_array_equal(drawn(second)["a"][0], [1, 4, 6])
    assert second.get_xlabel() == "evaluations"


def test_many_runs_differ(ax):
    plotting.compare({str(i): [i, i + 1.0] for i in range(28)}, ax)
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 28
    assert ax.get_legend().get_bbox_to_anchor().transformed(ax.transAxes.inverted()).x0 > 1


# -- schedules and rates --------------------------------------------------------------------------


def test_schedules(ax):
    cosine = fl.schedules.Cosine(0.1, steps=50)
    assert plotting.schedule(cosine, 50, ax, label="cosine") is ax
    plotting.schedule(fl.Adam(0.02), 50, ax, label="rule")
    lines = drawn(ax)
    np.testing.assert_array_equal(lines["cosine"][0], np.arange(50))
    np.testing.assert_allclose(lines["cosine"][1], [cosine(step) for step in range(50)])
    np.testing.assert_array_equal(lines["rule"][1], np.full(50, 0.02))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == (
        "step",
        "learning rate",
        "linear",
    )
    assert len(ax.get_legend().get_texts()) == 2
    decay = plotting.schedule(fl.schedules.Exponential(1.0, decay=0.9), 100)
    assert decay.get_yscale() == "log"
    assert decay.get_legend() is None
    rise = plotting.schedule(fl.schedules.Exponential(1.0, decay=1.1), 100)
    assert rise.get_yscale() == "linear"


def test_rate_test(ax):
    found = fl.RateTest(
        np.asarray([1e-3, 1e-2, 1e-1]), np.asarray([2.0, 1.0, 9.0]), np.asarray([2.0, 1.5, 4.0]),
        1e-3, "",
    )  # fmt: skip
    assert plotting.rate_test(found, ax) is ax
    lines = drawn(ax)
    np.testing.assert_array_equal(lines["loss"], (found.rates, found.losses))
    np.testing.assert_array_equal(lines["smoothed"], (found.rates, found.smoothed))
    np.testing.assert_array_equal(lines["suggestion: 0.001"][0], [1e-3, 1e-3])
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")
    assert ax.get_ylim()[1] == pytest.approx(2.5)
    nothing = fl.RateTest(found.rates, found.losses, found.smoothed, np.nan, "")
    assert len(plotting.rate_test(nothing).lines) == 2


# -- paths ----------------------------------------------------------------------------------------


def test_path_of_minimize(ax):
    res = fl.minimize(bowl, np.asarray([2.0, 1.0]), record=["x"])
    assert plotting.path(bowl, res, ax, label="L-BFGS", resolution=20) is ax
    x, y = drawn(ax)["L-BFGS"]
    np.testing.assert_array_equal(np.stack([x, y], axis=1), res.history["x"])
    ends = [tuple(dots.get_offsets()[0]) for dots in ax.collections[-2:]]
    assert ends == [(2.0, 1.0), tuple(res.x)]
    low, high = ax.get_xlim()
    assert low < 0 < 2 < high
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_0$", "$x_1$")


def test_the_map_has_the_heights_of_the_function(ax):
    seen = []

    def fun(x):
        seen.append(x.copy())
        return x[0] - 10 * x[1]

    plotting.path(fun, [[0.0, 0.0], [1.0, 1.0]], ax, limits=((-1, 2), (-2, 4)), resolution=7)
    np.testing.assert_allclose(np.unique(np.asarray(seen)[:, 0]), np.linspace(-1, 2, 7))
    np.testing.assert_allclose(np.unique(np.asarray(seen)[:, 1]), np.linspace(-2, 4, 7))
    filled = ax.collections[0]
    height = np.asarray(filled.get_array())
    assert height[0] < height[-1]
    lowest = filled.get_paths()[0].get_extents()  # where x is small and y large
    assert lowest.y1 == pytest.approx(4)
    assert filled.get_paths()[-1].get_extents().y0 == pytest.approx(-2)
    assert ax.get_xlim() == (-1, 2)


def test_paths_of_records_and_of_torch(ax):
    torch = pytest.importorskip("torch")
    seen = []

    def fun(x):
        assert isinstance(x, torch.Tensor)
        return x[0] ** 2 + x[1] ** 2, 2 * x

    fl.minimize(fun, torch.ones(2), callback=seen.append)
    plotting.path(fun, seen, ax, resolution=8)
    np.testing.assert_array_equal(
        np.stack(ax.lines[0].get_data(), axis=1), np.stack([r.x.numpy() for r in seen])
    )
    rows = plotting.path(fun, torch.stack([r.x for r in seen]), resolution=8)
    np.testing.assert_array_equal(rows.lines[0].get_xdata(), ax.lines[0].get_xdata())


def test_paths_over_one_map(ax):
    plotting.path(bowl, [[1.0, 1.0], [0.0, 0.0]], ax, limits=((-2, 2), (-2, 2)), resolution=10)
    maps = len(ax.collections)
    plotting.path(None, [[-1.0, 1.0], [0.0, 0.0]], ax)
    assert len(ax.collections) == maps + 2
    assert ax.get_xlim() == (-2, 2)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


@pytest.mark.parametrize("fun", [lambda x: np.asarray(1.0), lambda x: np.asarray(np.nan)])
def test_flat_and_undefined_functions_have_no_map(fun):
    ax = plotting.path(fun, [[1.0, 1.0]], resolution=5)
    drawn(ax)
    assert len(ax.collections) == 2


def test_holes_in_the_map():
    with np.errstate(all="raise"):
        ax = plotting.path(lambda x: np.log(x[0]), [[1.0, 1.0], [0.1, 0.5]], resolution=30)
    drawn(ax)
    assert len(ax.collections) == 4


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: plotting.loss_curves(3), TypeError, "source: is a int, expected a result"),
        (lambda: plotting.loss_curves("loss"), TypeError, "source: is a str"),
        (lambda: plotting.loss_curves([]), ValueError, r"source\['loss'\]: shape is \(0,\)"),
        (lambda: plotting.loss_curves(np.ones((2, 2))), ValueError, r"shape is \(2, 2\)"),
        (lambda: plotting.loss_curves(["a"]), TypeError, "must contain numbers of one shape"),
        (
            lambda: plotting.loss_curves([1.0, [2.0]]),
            TypeError,
            "must contain numbers of one shape",
        ),
        (lambda: plotting.loss_curves([1j]), TypeError, "must contain numbers of one shape"),
        (
            lambda: plotting.loss_curves(fitted(), names=["los"]),
            ValueError,
            "unknown name in source 'los'; did you mean 'loss'",
        ),
        (lambda: plotting.compare([1.0]), TypeError, "runs: is .1.0., expected a mapping"),
        (lambda: plotting.compare({}), TypeError, "runs: is {}, expected a mapping"),
        (
            lambda: plotting.compare({"a": [1.0]}, name="validation_loss"),
            ValueError,
            r"unknown name in runs\['a'\] 'validation_loss'",
        ),
        (
            lambda: plotting.compare({"a": {"loss": [1.0], "nfev": [1, 2]}}, over="nfev"),
            ValueError,
            r"runs\['a'\]: length of 'nfev' is 2, expected 1",
        ),
        (lambda: plotting.schedule("cosine", 3), TypeError, "a number or a schedule"),
        (lambda: plotting.schedule(0.1, 0), ValueError, "steps: is 0"),
        (lambda: plotting.rate_test([1.0]), TypeError, "expected a result of find_learning_rate"),
        (lambda: plotting.path(bowl, [[1.0, 2.0, 3.0]]), ValueError, r"points: shape is \(1, 3\)"),
        (lambda: plotting.path(bowl, []), ValueError, r"points: shape is \(0,\)"),
        (
            lambda: plotting.path(bowl, fl.minimize(bowl, np.ones(2))),
            ValueError,
            r'points: the result has no history of x; pass record=\["x"\]',
        ),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_without_matplotlib():
    code = """
import sys, fallline as fl
assert not any(name.partition(".")[0] == "matplotlib" for name in sys.modules)
sys.modules["matplotlib"] = None
try:
    fl.plotting.loss_curves([1.0])
except ImportError as error:
    assert "pip install 'fallline[plot]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
