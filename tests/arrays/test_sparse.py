"""Sparse matrices with indices outside of them: refused wherever they come in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fallline as fl
from fallline import _arrays
from fallline._arrays import _sparse
from fallline.callbacks import Callback
from fallline.fitting import _compiled_epoch

scipy = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

N, D = 200, 30
MODEL = fl.LinearModel(fl.losses.SquaredError())
START = {"weights": np.zeros(D), "intercept": np.zeros(())}


def matrix(form="csr_array", dtype="float64"):
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((N, D)) < 0.2, rng.standard_normal((N, D)), 0).astype(dtype)
    dense = np.eye(N, D) if form.startswith("dia") else dense
    return getattr(scipy, form)(dense)


def put(part, place, value):
    """Return what writes a number into a part of a matrix."""

    def write(x):
        found = x.coords[part] if isinstance(part, int) else getattr(x, part)
        found[place] = value

    return write


def replaced(part, change):
    """Return what puts another array into the place of a part."""

    def write(x):
        setattr(x, part, change(getattr(x, part)))

    return write


ASCEND = r"indptr: its numbers do not ascend from 0 to at most \d+, the stored elements"
DAMAGE = {
    "a large column": (put("indices", 5, 10**6), r"indices: some are outside \[0, {minor}\)"),
    "one too large": (put("indices", 5, 200), r"indices: some are outside \[0, {minor}\)"),
    "a negative column": (put("indices", 5, -3), r"indices: some are outside \[0, {minor}\)"),
    "a large end": (put("indptr", 10, 10**6), ASCEND),
    "a large last end": (put("indptr", -1, 10**6), ASCEND),
    "a negative end": (put("indptr", 10, -1), ASCEND),
    "a negative start": (put("indptr", 0, -5), ASCEND),
    "a late start": (put("indptr", 0, 1), ASCEND),
    "falling ends": (put("indptr", 10, 0), ASCEND),
    "few ends": (replaced("indptr", lambda x: x[:-1]), "indptr: length is {major}, expected"),
    "few columns": (replaced("indices", lambda x: x[:9]), ASCEND),
    "few numbers": (replaced("data", lambda x: x[:9]), ASCEND),
    "columns of floats": (
        replaced("indices", lambda x: x.astype(float)),
        "indices: is of float64, expected integers",
    ),
    "ends of floats": (replaced("indptr", lambda x: x.astype("float32")), "indptr: is of float32"),
    "columns of truths": (replaced("indices", lambda x: x > 1), "indices: is of bool"),
    "a list of columns": (replaced("indices", list), "indices: is a list, expected integers"),
    "two axes of columns": (
        replaced("indices", lambda x: x[None]),
        "indices: is of int32, expected integers along one axis",
    ),
}


def damaged(how, form="csr_array"):
    x = matrix(form)
    write, words = DAMAGE[how]
    write(x)
    major, minor = (D, N) if "csc" in form else (N, D)
    return x, rf"\.{words.replace('{minor}', str(minor)).replace('{major}', str(major))}"


def refused(place, words, f):
    """Assert that a call is refused with words about a place."""
    with pytest.raises((TypeError, ValueError), match=f"^{place}{words}"):
        f()


@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array"])
@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_damaged_is_refused_wherever_it_comes_in(how, form):
    x, words = damaged(how, form)
    y = np.ones(N)
    good = matrix()
    rule = {"method": fl.SGD(1e-3), "batch_size": 16, "epochs": 2, "rng": 0}
    if not isinstance(x.indptr, list) and len(x.data) > 9:
        refused("X", words, lambda: MODEL.value_and_gradient(START, x, y))
    for f in (MODEL.decision, MODEL.predict):
        refused("X", words, lambda f=f: f(START, x))
    refused(r"arrays\[1\]", words, lambda: fl.Batches(y, x, batch_size=16))
    for options in (rule, {}, {"method": "lbfgs", "params": START}):
        refused(r"data\[0\]", words, lambda o=options: fl.fit(MODEL, (x, y), **o))
    refused(r"validation\[0\]", words, lambda: fl.fit(MODEL, (good, y), validation=(x, y), **rule))
    refused("X", words, lambda: fl.fit(MODEL, (good, y), **rule).predict(x))
    stream = [(x, y)]
    refused("X", words, lambda: fl.fit(MODEL, stream, params=START, method=fl.SGD(0.1)))


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix"])
@pytest.mark.parametrize("how", DAMAGE)
def test_estimators_refuse_it(how, form):
    pytest.importorskip("sklearn")
    from fallline.estimators import LinearClassifier, LinearRegressor

    x, words = damaged(how, form)
    y = np.arange(N) % 2
    for make in (LinearRegressor, LinearClassifier):
        refused("X", words, lambda make=make: make().fit(x, y))
    refused("X", words, lambda: LinearRegressor(method="sgd").partial_fit(x, y))
    fitted = LinearRegressor().fit(matrix(), y)
    refused("X", words, lambda: fitted.predict(x))


@pytest.mark.parametrize("form", ["coo_array", "coo_matrix"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("value", [10**6, 200, -1])
def test_coordinates(form, axis, value):
    pytest.importorskip("sklearn")
    from fallline.estimators import LinearRegressor

    x, y = matrix(form), np.ones(N)
    expected = MODEL.value_and_gradient(START, matrix(), y)[1]["weights"]
    np.testing.assert_allclose(MODEL.value_and_gradient(START, x, y)[1]["weights"], expected)
    put(axis, 4, value)(x)
    words = rf"\.coords\[{axis}\]: some are outside \[0, {x.shape[axis]}\)"
    refused("X", words, lambda: MODEL.value_and_gradient(START, x, y))
    refused(r"data\[0\]", words, lambda: fl.fit(MODEL, (x, y)))
    refused(r"arrays\[0\]", words, lambda: fl.Batches(x, batch_size=3))
    refused("X", words, lambda: LinearRegressor().fit(x, y))


@pytest.mark.parametrize("form", ["coo_array", "dia_matrix"])
@pytest.mark.parametrize("options", [{}, {"method": fl.SGD(0.1), "batch_size": 8}])
def test_formats_without_rows_are_refused_by_the_name_of_the_data(form, options):
    x, y = matrix(form), np.ones(N)
    try:
        x[:1]
    except TypeError:
        words = rf"^data\[0\]: is a {form}, expected a sparse matrix with rows, such as its tocsr"
        with pytest.raises(TypeError, match=words):
            fl.fit(MODEL, (x, y), **options)
    else:  # in some versions of SciPy
        fl.fit(MODEL, (x, y), **options)


@pytest.mark.parametrize(
    ("form", "places"),
    [("csr_array", "int64"), ("csc_array", "int32"), ("bsr_array", "int32"), ("coo_array", "int64"),
     ("lil_array", None), ("dok_array", None), ("dia_array", None)],
)  # fmt: skip
def test_what_is_whole_passes(form, places):
    x = matrix(form)
    if places is not None and form != "coo_array":
        x.indices, x.indptr = x.indices.astype(places), x.indptr.astype(places)
    _sparse.check("X", x)
    _sparse.check("X", getattr(scipy, form)((0, 5)))
    _sparse.check("X", getattr(scipy, form)((4, 0)))
    _sparse.check("X", x[:0] if form in ("csr_array", "csc_array") else x)
    swapped = matrix()
    swapped.indices = swapped.indices.astype(">i4")
    _sparse.check("X", swapped)
    swapped.indices[3] = -1
    with pytest.raises(ValueError, match=r"X\.indices: some are outside"):
        _sparse.check("X", swapped)
    slack = matrix()
    slack.indices, slack.data = np.r_[slack.indices, [10**6]], np.r_[slack.data, [1.0]]
    _sparse.check("X", slack)  # what belongs to no row is not read
    _sparse.check("X", np.ones((2, 2)))


def test_blocks():
    x = scipy.bsr_array(np.kron(np.eye(3), np.ones((2, 2))), blocksize=(2, 2))
    _sparse.check("X", x)
    x.indices[1] = 3
    with pytest.raises(ValueError, match=r"X\.indices: some are outside \[0, 3\)"):
        _sparse.check("X", x)


WRITES = {
    name: DAMAGE[name]
    for name in (
        "a large column", "a negative column", "a large end", "a negative start", "falling ends",
    )
}  # fmt: skip


@pytest.mark.parametrize("how", [*WRITES, "other columns"])
@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("form", ["csr_array", "csc_array"])
def test_what_a_callback_writes_between_epochs_is_noticed(how, engine, form):
    x, y = matrix(form), np.ones(N)
    write, words = WRITES.get(how, (put("indices", slice(0, 50), 10**7), r"indices: some are"))
    words = words.replace("{minor}", str(N if form == "csc_array" else D))
    epochs = []

    class Writes(Callback):
        def on_epoch(self, run):
            epochs.append(run.epoch)
            if run.epoch == 2:
                write(x)

    with pytest.raises(ValueError, match=rf"^arrays\[0\]\.{words}"):
        fl.fit(
            MODEL, (x, y), method=fl.SGD(1e-3), batch_size=16, epochs=6, rng=0, engine=engine,
            callbacks=[Writes()],
        )  # fmt: skip
    assert epochs == [1, 2]


@pytest.mark.parametrize("how", [*WRITES])
@pytest.mark.parametrize("form", ["csr_array", "csc_array"])
def test_what_a_callback_writes_between_steps_is_noticed(how, form):
    x, y = matrix(form), np.ones(N)
    write, words = WRITES[how]
    words = words.replace("{minor}", str(N if form == "csc_array" else D))

    class Writes(Callback):
        def on_step(self, run):
            if run.step == 2:
                write(x)

    with pytest.raises(ValueError, match=rf"^(arrays\[0\]|X)\.{words}"):
        fl.fit(
            MODEL, (x, y), method=fl.SGD(1e-3), batch_size=16, epochs=2, rng=0,
            callbacks=[Writes()],
        )  # fmt: skip


def test_a_solver_notices_it_too():
    x, y = matrix(), np.ones(N)

    def write(run):
        x.indices[:50] = 10**7

    with pytest.raises(ValueError, match=r"^X\.indices: some are outside"):
        fl.fit(MODEL, (x, y), method="lbfgs", callbacks=[write])


@pytest.mark.parametrize("hooks", [[], [lambda run: None]])
def test_a_matrix_that_nobody_sees_is_checked_once(hooks, monkeypatch):
    pytest.importorskip("numba")
    calls = []
    real = _sparse.check
    monkeypatch.setattr(_sparse, "check", lambda *args: (calls.append(args), real(*args))[1])
    epoch = _compiled_epoch.CompiledEpoch
    advance = epoch.advance
    epochs = []
    monkeypatch.setattr(
        epoch, "advance", lambda *args: (epochs.append(len(calls)), advance(*args))[1]
    )
    fl.fit(
        MODEL, (matrix(), np.ones(N)), method=fl.SGD(1e-3), batch_size=20, epochs=5, rng=0,
        callbacks=hooks,
    )  # fmt: skip
    assert len(epochs) == 5
    assert [b - a for a, b in itertools.pairwise(epochs)] == [len(hooks)] * 4


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "lil", "dok", "dia"])
def test_every_format_is_known_to_be_sparse(form):
    x = getattr(scipy, f"{form}_array")((3, 2))
    assert _arrays.is_sparse(x)
    assert not _arrays.is_array(x)
    for other in (np.ones((3, 2)), [x], "csr", None):
        assert not _arrays.is_sparse(other)


@pytest.mark.parametrize("form", ["lil_array", "lil_matrix", "dok_array", "dok_matrix"])
@pytest.mark.parametrize("options", [{}, {"method": fl.SGD(0.1), "batch_size": 8}])
def test_formats_without_an_array_of_numbers_are_refused_by_fit(form, options):
    words = rf"^data\[0\]: is a {form}, expected a sparse matrix with rows, such as its tocsr"
    with pytest.raises(TypeError, match=words):
        fl.fit(MODEL, (matrix(form), np.ones(N)), **options)
