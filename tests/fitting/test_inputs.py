"""What `fit` takes as data, and what it says of the rest."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import stop

MODEL = fl.LinearModel(fl.losses.SquaredError())
X = np.random.default_rng(0).standard_normal((30, 2))
Y = X @ np.asarray([1.0, -2.0])


def test_a_list_of_arrays_is_the_tuple_of_them():
    expected = fl.fit(MODEL, (X, Y), validation=(X, Y))
    found = fl.fit(MODEL, [X, Y], validation=[X, Y])
    np.testing.assert_array_equal(found.params["weights"], expected.params["weights"])
    np.testing.assert_array_equal(
        found.history["validation_loss"], expected.history["validation_loss"]
    )


def test_batches_may_be_lists():
    parts = [(X[:10], Y[:10]), (X[10:], Y[10:])]
    options = {"params": MODEL.initialize(X, Y), "method": fl.SGD(0.1), "epochs": 3}
    expected = fl.fit(MODEL, parts, **options)
    found = fl.fit(MODEL, [list(part) for part in parts], **options)
    np.testing.assert_array_equal(found.params["weights"], expected.params["weights"])
    options = {"params": MODEL.initialize(X, Y), "method": "sgd", "rng": 0}
    one, other = (
        fl.find_learning_rate(MODEL, data, **options)
        for data in (parts, [list(part) for part in parts])
    )
    np.testing.assert_array_equal(one.losses, other.losses)


def test_batches_of_a_torch_loader():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.data import DataLoader, TensorDataset

    data = torch.asarray(X), torch.asarray(Y)
    loader = DataLoader(TensorDataset(*data), batch_size=10)
    params = MODEL.initialize(*data)
    found = fl.fit(MODEL, loader, params=params, method=fl.SGD(0.1), epochs=3)
    expected = fl.fit(
        MODEL, fl.Batches(*data, batch_size=10, shuffle=False), params=params, method=fl.SGD(0.1),
        epochs=3,
    )  # fmt: skip
    assert found.steps == 9
    assert torch.equal(found.params["weights"], expected.params["weights"])


class DataFrame:
    """A table, as pandas has it."""

    def to_numpy(self, dtype=None):
        return X


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((np.ones((30, 2), int), Y), r"data\[0\]: dtype is int64, expected floating-point.*astype"),
        ((X > 0, Y), r"data\[0\]: dtype is bool"),
        ((DataFrame(), Y), r"data\[0\]: is a DataFrame, expected an array: \.to_numpy\(float\)"),
        ((X, DataFrame()), r"data\[1\]: is a DataFrame"),
        ((X, np.asarray(["a", "b", "c"] * 10)), r"data\[1\]: dtype is <U1.*numpy\.unique"),
        ((X, Y.astype(object)), r"data\[1\]: dtype is object, expected numbers; .*astype\(float\)"),
        ((X, np.arange(30).astype("M8[s]")), r"data\[1\]: dtype is datetime64.*timedelta64"),
        ((X, np.arange(30).astype("m8[s]")), r"data\[1\]: dtype is timedelta64.*timedelta64"),
        ((X, np.ma.masked_array(Y, Y > 1)), r"data\[1\]: is a MaskedArray.*mask"),
        ((np.ma.masked_array(X, X > 1), Y), r"data\[0\]: is a MaskedArray.*mask"),
        ((X, Y.tolist()), r"data\[1\]: is a list"),
        ([X, Y.tolist()], "params: are needed|data"),
        (X, "data: is an ndarray, expected a tuple of arrays or batches"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["lbfgs", fl.SGD(0.1)])
def test_data_that_are_not_arrays_of_numbers(data, words, method):
    with pytest.raises(TypeError, match=words):
        fl.fit(MODEL, data, method=method)
    if isinstance(data, tuple):
        with pytest.raises(TypeError, match=words.replace("data", "validation", 1)):
            fl.fit(MODEL, (X, Y), method=method, validation=data)
        with pytest.raises(TypeError, match=words):
            fl.find_learning_rate(MODEL, data)


def test_integers_are_good_where_the_objective_takes_them():
    def table(params, rows, y):
        error = params[rows] - y
        gradient = np.zeros_like(params)
        np.add.at(gradient, rows, 2 * error / len(y))
        return np.mean(error**2), gradient

    rows = np.arange(30) % 3
    found = fl.fit(
        table, (rows, rows * 1.0), params=np.zeros(3), method=fl.SGD(0.3), batch_size=5, epochs=60
    )
    np.testing.assert_allclose(found.params, [0, 1, 2], atol=1e-3)
    classes = fl.LinearModel(fl.losses.SoftmaxCrossEntropy())
    assert fl.fit(classes, (X, rows)).params["weights"].shape == (2, 3)


def test_names_of_methods_are_those_of_fit():
    one, other = (
        fl.find_learning_rate(MODEL, (X, Y), method=method, rng=0) for method in ("sgd", fl.SGD())
    )
    np.testing.assert_array_equal(one.losses, other.losses)
    with pytest.raises(
        TypeError, match="method: is 'lbfgs', expected one rule with a learning_rate"
    ):
        fl.find_learning_rate(MODEL, (X, Y), method="lbfgs")
    with pytest.raises(ValueError, match="unknown method 'adamm'"):
        fl.find_learning_rate(MODEL, (X, Y), method="adamm")


@pytest.mark.parametrize(
    "condition",
    [stop.GradientNorm(), stop.ParameterChange(0.1), stop.MaxTime(9) | stop.GradientNorm()],
)
def test_conditions_that_an_epoch_cannot_answer(condition):
    with pytest.raises(ValueError, match=r"stop: .* an epoch of a rule does not tell"):
        fl.fit(MODEL, (X, Y), method=fl.SGD(0.1), stop=condition)
    assert fl.fit(MODEL, (X, Y), stop=condition).success
    with pytest.raises(TypeError, match="stop: is a str, expected a condition"):
        fl.fit(MODEL, (X, Y), method=fl.SGD(0.1), stop="soon")


# -- nothing to do -----------------------------------------------------------------------------


def test_a_solver_at_the_minimum_has_a_loss():
    best = {"weights": np.asarray([1.0, -2.0]), "intercept": np.asarray(0.0)}
    again = fl.fit(MODEL, (X, Y), params=best, validation=(X[:5], Y[:5]))
    assert (again.success, again.epochs) == (True, 0)
    assert again.loss == MODEL.value_and_gradient(best, X, Y)[0] == 0
    np.testing.assert_array_equal(again.history["loss"], [again.loss])
    assert all(len(again.history[name]) == 1 for name in ("validation_loss", "seconds"))
    flat = fl.LinearModel(fl.losses.CosineDistance())
    Z = np.stack([Y, -Y], axis=1)
    assert np.isfinite(fl.fit(flat, (X, Z)).loss)


@pytest.mark.parametrize("weights", [None, np.arange(30.0)])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_rule_without_epochs_has_a_loss(weights, batch_size):
    rng = np.random.default_rng(3)
    found = fl.fit(
        MODEL, (X, Y), weights=weights, method=fl.SGD(0.1), epochs=0, batch_size=batch_size,
        rng=rng, validation=(X, Y),
    )  # fmt: skip
    expected = MODEL.value_and_gradient(MODEL.initialize(X, Y), X, Y, weights)[0]
    np.testing.assert_allclose(found.loss, expected)
    assert len(found.history["loss"]) == len(found.history["validation_loss"]) == 1
    assert (found.epochs, found.steps, found.status) == (0, 0, 1)
    assert not found.params["weights"].any()
    assert rng.random() == np.random.default_rng(3).random()  # no order was drawn


def test_a_rule_without_epochs_over_a_stream():
    found = fl.fit(
        MODEL, [(X[:10], Y[:10]), (X[10:], Y[10:])], params=MODEL.initialize(X, Y),
        method=fl.SGD(0.1), epochs=0,
    )  # fmt: skip
    np.testing.assert_allclose(found.loss, np.mean(Y**2))


@pytest.mark.parametrize("method", ["lbfgs", fl.SGD(0.1)])
def test_targets_in_the_memory_of_the_host_are_looked_at(method):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.standard_normal((30, 3)))
    y = (X.sum(1) > 0).double()

    def fit(loss, target, weights=None):
        model = fl.LinearModel(loss, fl.L2(0.1))
        return fl.fit(model, (X, target), weights=weights, method=method, epochs=2)

    with pytest.raises(ValueError, match=r"^data\[1\]: some elements are outside {-1, 1}"):
        fit(fl.losses.Hinge(), y)
    with pytest.raises(ValueError, match=r"^data\[1\]: some elements are outside \[0, 1\]"):
        fit(fl.losses.BinaryCrossEntropy(), 2 * y)
    with pytest.raises(ValueError, match=r"^weights: some are negative"):
        fit(fl.losses.SquaredError(), y, -torch.ones(30))
    fit(fl.losses.BinaryCrossEntropy(), torch.where(y > 0, 7.0, 0.0), 1 - y)
    fit(fl.losses.BinaryCrossEntropy(), y)
