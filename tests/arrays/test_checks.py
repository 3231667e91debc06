"""What the checks take, what they refuse, and in which words."""

from __future__ import annotations

import dataclasses
import math
import types
from fractions import Fraction

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from fallline._arrays import _checks, _memory, _settings


def test_integers_of_every_library_are_counts(backend):
    x = backend.array(np.asarray([3, 5]))
    assert _checks.count("n", np.int64(3)) == 3
    assert type(_checks.count("n", np.uint8(3))) is int
    if backend.name not in ("array_api_strict", "dpnp"):  # there the conversion is a read
        assert type(_checks.count("n", x[0, ...])) is int


@pytest.mark.parametrize(
    "value", [True, np.True_, np.asarray(True), 2.0, "3", None, np.ones(2, int)]
)
def test_what_is_no_integer_is_no_count(value):
    with pytest.raises(TypeError, match=r"^n: is .*, expected an integer >= 1$"):
        _checks.count("n", value, 1)


def test_the_message_has_the_real_bound():
    with pytest.raises(ValueError, match=r"^n: is 0, expected an integer >= 1$"):
        _checks.count("n", 0, 1)
    with pytest.raises(ValueError, match=r"^n: is 100, expected an integer in \[1, 99\]$"):
        _checks.count("n", 100, 1, 99)


@pytest.mark.parametrize("value", ["1e-3", b"1", True, np.True_, np.asarray(True), None, 1j, [1.0]])
def test_text_and_truths_are_no_numbers(value):
    with pytest.raises(TypeError, match=r"^x: is .*, expected a number$"):
        _checks.number("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [np.ones(1), np.ones((1, 1))])
def test_an_array_with_axes_is_no_number(value):
    with pytest.raises(TypeError, match="expected a number"):
        _checks.number("x", value, 0.0, 1.0)


def test_numbers_of_every_kind_are_numbers():
    for value in (1, 0.5, np.float32(0.5), np.int8(1), np.asarray(0.5), Fraction(1, 2)):
        assert type(_checks.number("x", value, 0.0, 1.0)) is float
    with pytest.raises(ValueError, match=r"^x: is inf, expected a finite number in \(-inf, inf\)$"):
        _checks.number("x", 10**400, -math.inf, math.inf)


REFUSED = {
    "learning_rate=": lambda x: fl.Adam(x),
    "beta1=": lambda x: fl.Adam(beta1=x),
    "alpha=": lambda x: fl.Lookahead(fl.SGD(), alpha=x),
    "decay": lambda x: fl.EMA(np.ones(2), x),
    "value=": lambda x: fl.schedules.Constant(x),
    "factor=": lambda x: fl.schedules.Step(0.1, every=1, factor=x),
    "schedule=": lambda x: fl.schedules.LinearWarmup(x, steps=2),
    "values=": lambda x: fl.schedules.Piecewise((1.0, x), boundaries=(1,)),
    "delta=": lambda x: fl.losses.Huber(x),
    "quantile=": lambda x: fl.losses.Quantile(x),
    "background=": lambda x: fl.losses.PoissonIntensity(background=x),
    "alpha": lambda x: fl.L1(x),
    "l1_ratio": lambda x: fl.ElasticNet(0.1, l1_ratio=x),
    "radius": lambda x: fl.L2Ball(x),
    "low": lambda x: fl.Box(x, 1.0),
    "high": lambda x: fl.Box(high=x),
    "limit": lambda x: fl.gradients.ClipByGlobalNorm(x),
    "initial": lambda x: fl.gradients.LossScale(x),
    "tolerance": lambda x: fl.stop.GradientNorm(x),
    "seconds": lambda x: fl.stop.MaxTime(x),
    "value": lambda x: fl.stop.Target(x),
    "by": lambda x: fl.callbacks.EarlyStopping(by=x),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("value", ["0.5", True], ids=repr)
def test_text_and_truths_are_refused_everywhere(name, value):
    with pytest.raises(TypeError, match=rf"{name}=?\)?: is {value!r}, expected a number"):
        REFUSED[name](value)


COUNTS = {
    "Step": (lambda n: fl.schedules.Step(0.1, every=n).every, 1),
    "MultiStep": (lambda n: fl.schedules.MultiStep(0.1, milestones=[n]).milestones[0], 1),
    "Exponential": (lambda n: fl.schedules.Exponential(0.1, decay=0.5, every=n).every, 1),
    "Cosine": (lambda n: fl.schedules.Cosine(0.1, steps=n).steps, 1),
    "CosineRestarts": (
        lambda n: fl.schedules.CosineRestarts(1, steps=2, multiplier=n).multiplier,
        1,
    ),
    "LinearWarmup": (lambda n: fl.schedules.LinearWarmup(0.1, steps=n).steps, 1),
    "Join": (lambda n: fl.schedules.Join((1, 2), boundaries=[n]).boundaries[0], 1),
    "ReduceOnPlateau": (lambda n: fl.schedules.ReduceOnPlateau(1, patience=n).patience, 0),
    "Accumulate": (lambda n: fl.gradients.Accumulate(n).k, 1),
    "LossScale": (lambda n: fl.gradients.LossScale(interval=n).interval, 1),
    "Lookahead": (lambda n: fl.Lookahead(fl.SGD(), k=n).k, 1),
    "NotImproved": (lambda n: fl.stop.NotImproved(n).iterations, 0),
    "MaxEvaluations": (lambda n: fl.stop.MaxEvaluations(n).n, 0),
    "start": (lambda n: fl.stop.Target(1.0).start(every=n).every, 1),
    "Log": (lambda n: fl.callbacks.Log(every=n).every, 1),
    "Checkpoint": (lambda n: fl.callbacks.Checkpoint("x", n).every, 1),
    "EarlyStopping": (lambda n: fl.callbacks.EarlyStopping(n).patience, 0),
    "Batches": (lambda n: fl.Batches(np.ones(9), batch_size=n).batch_size, 1),
    "LBFGS": (lambda n: fl.solvers.LBFGS(history=n).history, 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_numpy_s_integers_are_integers_everywhere(name):
    make, low = COUNTS[name]
    for value in (7, np.int64(7), np.asarray(7)):
        found = make(value)
        assert found == 7
        assert type(found) is int
    assert make(low) == low
    with pytest.raises(ValueError, match=rf": is {low - 1}, expected an integer >= {low}|above 0"):
        make(low - 1)
    for value in (True, np.True_, 2.5, "2"):
        with pytest.raises(TypeError, match=rf": is .*, expected an integer >= {low}|>= 0"):
            make(value)


def test_arrays_and_all_sequences_are_sequences(backend):
    rule = fl.schedules.MultiStep(0.1, milestones=(3, 5))
    found = [np.asarray([3, 5]), [3, 5], range(3, 6, 2), (n for n in (3, 5))]
    for milestones in (*found, backend.array(np.asarray([3, 5]))):
        assert fl.schedules.MultiStep(0.1, milestones=milestones) == rule
    values = backend.array(np.asarray([0.5, 0.25]))
    assert fl.schedules.Piecewise(values, boundaries=[1]).values == (0.5, 0.25)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("35", r"milestones=\): is '35', expected a sequence of integers"),
        (3, r"milestones=\): is 3, expected a sequence of integers"),
        ({3: 5}, "expected a sequence of integers"),
        ({3, 5}, "expected a sequence of integers"),
        (np.ones((2, 2), int), r"shape is \(2, 2\), expected one axis of integers"),
        (np.asarray(3), r"shape is \(\), expected one axis"),
        ([1.5], r"is 1.5, expected an integer"),
    ],
)
def test_what_is_no_sequence(value, words):
    with pytest.raises(TypeError, match=words):
        fl.schedules.MultiStep(0.1, milestones=value)


def test_numbers_like_others():
    like = {"a": 1, "b": {"c": 0.5}}
    assert _settings.like_numbers("s", like, {"a": 2, "b": {"c": np.inf}}) == {
        "a": 2,
        "b": {"c": np.inf},
    }
    for saved, error, words in (
        ({"a": 2}, ValueError, r"s: entries is \['a'\], expected \['a', 'b'\]"),
        ({"a": 2, "b": 3}, TypeError, r"s\['b'\]: is an int, expected a dict"),
        ({"a": True, "b": {"c": 1}}, TypeError, r"s\['a'\]: is True, expected a number"),
    ):
        with pytest.raises(error, match=words):
            _settings.like_numbers("s", like, saved)


# -- what looks like an array -----------------------------------------------------------------


def lookalike(name, package):
    """Return a thing of another library with all that an array has."""
    names = {
        "__module__": package, "__array_namespace__": lambda self, **_: np,
        "shape": (2,), "ndim": 1, "dtype": np.dtype(float), "size": 2,
        "__array__": lambda self, *_, **__: pytest.fail("it was made dense"),
    }  # fmt: skip
    return type(name, (np.lib.mixins.NDArrayOperatorsMixin,), names)()


@pytest.mark.parametrize(
    ("name", "package", "words"),
    [
        ("COO", "sparse.numba_backend", "sparse"),
        ("Array", "dask.array.core", "lazy graph"),
        ("Array", "ndonnx._refactor", "lazy graph"),
        ("Array", "zarr.core.array", "read it with"),
        ("array", "mlx.core", "does not follow the Array API standard"),
        ("DataFrame", "pandas.core.frame", "labels"),
        ("DataArray", "xarray.core.dataarray", "labels"),
        ("csr_array", "scipy.sparse._csr", "sparse"),
    ],
)
def test_leaves_of_other_kinds_are_refused_with_the_reason(name, package, words):
    x = lookalike(name, package)
    assert not _arrays.is_array(x)
    with pytest.raises(
        TypeError, match=rf"^params\['w'\]: is an? [\w.]*{name}, expected an array; .*{words}"
    ):
        fl.Optimizer({"w": x}, fl.SGD(0.1))
    what = rf"is an? [\w.]*{name}, expected an array; .*{words}"
    with pytest.raises(TypeError, match=f"^grads: {what}"):
        fl.Optimizer(np.ones(2), fl.SGD(0.1)).step(x)
    with pytest.raises(TypeError, match=rf"^params: is an? [\w.]*{name}, .*{words}"):
        fl.SGD(0.1).init(x)
    assert _arrays.family(x) == ""
    assert not _memory.overlap(x, np.ones(2))
    assert not _memory.overlaps_itself(x)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_numpy_s_own_lookalikes_are_refused_with_the_reason():
    for x, words in (
        (np.ma.masked_array([1.0]), "forget the mask"),
        (np.matrix([[1.0]]), "asarray"),
    ):
        with pytest.raises(TypeError, match=rf"params: is a {type(x).__name__}, .*{words}"):
            fl.Optimizer(x, fl.SGD(0.1))


@dataclasses.dataclass
class Model:
    w: object


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            (x for x in [np.ones(2)]),
            "params: is a generator, expected an array or a tree of arrays; ",
        ),
        (iter([np.ones(2)]), "params: is a list_iterator, .* make a list of it"),
        ({"a": np.ones(2)}.values(), "params: is a dict_values, .* make a list of it"),
        ([np.float64(1)], r"params\[0\]: is a float64, .*numpy.asarray"),
        ([1.0], r"params\[0\]: is a float, expected an array; .*numpy.asarray"),
        (Model(np.ones(2)), "params: is a Model, expected an array; make a dict of its arrays"),
        (types.SimpleNamespace(), "params: is a SimpleNamespace, expected an array$"),
    ],
)
def test_other_leaves_are_refused_with_a_hint(params, words):
    with pytest.raises(TypeError, match=words):
        fl.Optimizer(params, fl.SGD(0.1))


def test_batches_speak_of_arrays():
    with pytest.raises(TypeError, match=r"^arrays\[0\]: is a list, expected an array$"):
        fl.Batches([1, 2], batch_size=1)
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"^arrays\[0\]: is a coo_matrix, .*tocsr"):
        fl.Batches(sparse.coo_matrix(np.eye(3)), batch_size=1)


def test_a_sparse_gradient_is_shown_the_way():
    torch = pytest.importorskip("torch")
    x = torch.ones(3)
    with pytest.raises(
        TypeError, match=r"grads: is sparse, .*fallline.RowSparse\(indices, values\)"
    ):
        fl.Optimizer(x, fl.SGD(0.1)).step(torch.ones(3).to_sparse())


def test_names_that_are_nearly_right():
    with pytest.raises(ValueError, match="did you mean 'Adam'"):
        fl.rules.get("adma")
    with pytest.raises(
        TypeError, match=r"SGD\(\) takes learning_rate without a name; .* momentum="
    ):
        fl.SGD(0.1, 0.9)
