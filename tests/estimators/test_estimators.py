"""The estimators: scikit-learn's own checks, its models as oracles, arrays of other libraries."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import fallline as fl

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")
import scipy.sparse
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fallline.estimators import LinearClassifier, LinearRegressor
from tests import backends

TIGHT = {"tol": 1e-10, "max_iter": 20000}
REGRESSORS = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
LIBRARIES = ("torch", "array_api_strict", "dpnp")
CLASSIFIERS = ("log_loss", "hinge", "squared_hinge", "modified_huber")


def standardised(name, dtype="float64"):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(dtype), y


def present(library):
    """Skip, visibly, where a library is absent."""
    try:
        backends.make(library)
    except backends.AbsentError as error:
        backends.absent(library, error)


def dispatched(program, *arguments):
    """Run a program where scikit-learn looks at the library of its arrays."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def made(loss, **options):
    return (LinearRegressor if loss in REGRESSORS else LinearClassifier)(loss, **options)


def data_of(loss):
    X, y = standardised("diabetes" if loss in REGRESSORS else "wine")
    return X[::3], y[::3]


# -- scikit-learn's own checks --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([LinearRegressor(), LinearClassifier()])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


ARRAY_API = """
import sys
from sklearn.utils import estimator_checks
from fallline.estimators import LinearClassifier, LinearRegressor

own = estimator_checks._yield_array_api_checks
estimator_checks._yield_all_checks = lambda estimator, legacy: (
    check for check in own(estimator)
    if getattr(check, "keywords", {}).get("array_namespace", "several") in sys.argv
)
passed = 0
for estimator in (
    LinearRegressor(), LinearClassifier("hinge"), LinearClassifier(penalty="l1"),
    LinearClassifier(method="adam", max_iter=5, tol=None), LinearRegressor("poisson"),
    LinearRegressor("quantile"), LinearClassifier(), LinearClassifier("modified_huber"),
)[: 4 if "dpnp" in sys.argv else 8]:
    for found in estimator_checks.check_estimator(estimator, on_fail=None, on_skip=None):
        if found["status"] == "failed":
            raise found["exception"]
        if found["check_name"].startswith("check_array_api"):
            passed += found["status"] == "passed"
print(passed)
"""


@pytest.mark.parametrize("libraries", ["numpy torch array_api_strict", "dpnp"])
def test_scikit_learn_s_array_api_checks(libraries):
    for name in libraries.split():
        present(name)
    more = [] if libraries == "dpnp" else ["several"]  # those of arrays of two libraries
    done = dispatched(ARRAY_API, *libraries.split(), *more)
    assert int(done.stdout) >= (4 * 2 if libraries == "dpnp" else 8 * 6)


@pytest.mark.parametrize("hidden", ["sklearn", "numpy"])
def test_what_is_missing_is_named(hidden):
    code = "import sys, fallline; assert 'sklearn' not in sys.modules\n"
    if hidden == "sklearn":
        code += (
            "sys.modules['sklearn'] = None\n"
            "try:\n    import fallline.estimators\n"
            "except ImportError as error:\n    assert 'fallline[sklearn]' in str(error)\n"
            "else:\n    raise AssertionError\n"
        )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- scikit-learn's models as oracles -------------------------------------------------------------


def assert_same_model(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=atol, rtol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=atol, rtol=1e-5)
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_logistic_regression(name, intercept):
    X, y = standardised(name)
    a = 0.01
    theirs = linear_model.LogisticRegression(
        C=1 / (a * len(y)), tol=1e-10, max_iter=10000, fit_intercept=intercept
    )
    ours = LinearClassifier(alpha=a, fit_intercept=intercept, **TIGHT)
    assert_same_model(ours.fit(X, y), theirs.fit(X, y))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LinearRegressor(alpha=0.1), lambda n: linear_model.Ridge(0.1 * n / 2, tol=1e-10)),
        (LinearRegressor(penalty="l1", alpha=10), lambda n: linear_model.Lasso(5, tol=1e-12)),
        (
            LinearRegressor(penalty="elasticnet", alpha=4, l1_ratio=0.3),
            lambda n: linear_model.ElasticNet(2, l1_ratio=0.3, tol=1e-12),
        ),
        (
            LinearRegressor("poisson", alpha=0.01),
            lambda n: linear_model.PoissonRegressor(alpha=0.01, tol=1e-10, max_iter=1000),
        ),
        (
            LinearRegressor("gamma", alpha=0.01, fit_intercept=False),
            lambda n: linear_model.GammaRegressor(
                alpha=0.01, tol=1e-10, solver="newton-cholesky", fit_intercept=False
            ),
        ),
        (LinearRegressor(penalty=None), lambda n: linear_model.LinearRegression()),
    ],
    ids=["ridge", "lasso", "elasticnet", "poisson", "gamma", "none"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_regression(ours, theirs, weighted):
    X, y = standardised("diabetes")
    weights = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else None
    n = len(y) if weights is None else weights.sum()
    ours = clone(ours).set_params(**TIGHT).fit(X, y, weights)
    assert_same_model(ours, theirs(n).fit(X, y, sample_weight=weights), atol=2e-5)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_quantiles(q):
    X, y = standardised("diabetes")

    def loss(model):
        error = y - model.fit(X, y).predict(X)
        return np.mean(np.maximum(q * error, (q - 1) * error))

    least = loss(linear_model.QuantileRegressor(quantile=q, alpha=0))
    found = loss(LinearRegressor(fl.losses.Quantile(q), penalty=None))
    assert least <= found < least + 5e-5 * np.mean(np.abs(y - y.mean()))
    if q == 0.5:
        found = loss(LinearRegressor("absolute_error", penalty=None))
        assert least <= found < least + 5e-5 * np.mean(np.abs(y - y.mean()))


@pytest.mark.parametrize(
    ("loss", "theirs"), [("hinge", "hinge"), ("squared_hinge", "squared_hinge")]
)
def test_support_vector_machines(loss, theirs):
    from sklearn.svm import SVC, LinearSVC

    X, y = standardised("breast_cancer")
    a = 0.1
    C = 1 / (a * len(y))
    if loss == "hinge":
        other = SVC(kernel="linear", C=C, tol=1e-8).fit(X, y)
    else:  # whose intercept is penalised, the less the larger its feature
        other = LinearSVC(C=C, tol=1e-8, max_iter=100000, intercept_scaling=1e3).fit(X, y)
    ours = LinearClassifier(loss, alpha=a).fit(X, y)

    def value(model):
        short = np.maximum(0, 1 - (2 * y - 1) * model.decision_function(X))
        return np.mean(short ** (2 if "squared" in loss else 1)) + a / 2 * np.sum(model.coef_**2)

    assert value(ours) == pytest.approx(value(other), abs=5e-5)


def test_modified_huber_s_probabilities_are_scikit_learn_s():
    for name in ("breast_cancer", "wine"):
        X, y = standardised(name)
        ours = LinearClassifier("modified_huber").fit(X, y)
        theirs = linear_model.SGDClassifier("modified_huber", max_iter=5, tol=None).fit(X, y)
        theirs.coef_, theirs.intercept_ = ours.coef_, ours.intercept_
        far = 3 * np.vstack([X, np.random.default_rng(0).standard_normal(X.shape)])
        np.testing.assert_allclose(ours.predict_proba(far), theirs.predict_proba(far), atol=1e-12)


def test_one_against_the_rest_is_so_many_fits():
    X, y = standardised("wine")
    for loss in CLASSIFIERS[2:]:
        together = LinearClassifier(loss, alpha=0.05, **TIGHT).fit(X, y)
        for k in range(3):
            one = LinearClassifier(loss, alpha=0.05, **TIGHT).fit(X, y == k)
            np.testing.assert_allclose(together.coef_[k], one.coef_[0], atol=1e-5)


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "wine", "diabetes"])
def test_scores_with_defaults(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    pair = (LinearClassifier(), linear_model.LogisticRegression())
    if name == "diabetes":
        pair = (LinearRegressor(), linear_model.Ridge())
    ours, theirs = (
        cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=5).mean() for model in pair
    )
    assert ours >= theirs - 0.005


# -- weights, sparse data, precision --------------------------------------------------------------


@pytest.mark.parametrize("loss", [*REGRESSORS, *CLASSIFIERS])
def test_sparse_is_dense(loss):
    X, y = data_of(loss)
    X = np.where(np.abs(X) < 0.5, 0, X)
    options = {"method": fl.Adam(0.05), "max_iter": 3, "tol": None, "random_state": 0}
    dense = made(loss, batch_size=32, **options).fit(X, y)
    sparse = made(loss, batch_size=32, **options).fit(scipy.sparse.csr_array(X), y)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(sparse.predict(scipy.sparse.csr_matrix(X)), dense.predict(X))
    if loss in ("squared_error", "log_loss"):
        dense = made(loss, alpha=0.1, **TIGHT).fit(X, y)
        sparse = made(loss, alpha=0.1, **TIGHT).fit(scipy.sparse.csr_array(X), y)
        np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "log_loss", "squared_hinge"])
def test_integer_weights_are_repeated_rows(loss):
    X, y = data_of(loss)
    counts = np.random.default_rng(0).integers(0, 3, len(y))
    one = made(loss, alpha=0.1, **TIGHT).fit(X, y, sample_weight=counts)
    other = made(loss, alpha=0.1, **TIGHT).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-5)


def test_mini_batches_of_weights_of_zero():
    X, y = data_of("log_loss")
    weights = np.where(np.arange(len(y)) % 7 == 0, 1.0, 0.0)
    model = LinearClassifier(method=fl.Adam(0.05), batch_size=2, max_iter=30, tol=None)
    model.set_params(random_state=0).fit(X, y, weights)
    assert model.score(X, y, weights) > 0.9


def test_class_weight():
    X, y = standardised("wine")
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y != 0)[::4]])
    X, y = X[keep], y[keep]
    balanced = LinearClassifier(alpha=0.1, class_weight="balanced", **TIGHT).fit(X, y)
    counts = np.bincount(y)
    table = {k: len(y) / (3 * n) for k, n in enumerate(counts)}
    by_hand = LinearClassifier(alpha=0.1, class_weight=table, **TIGHT).fit(X, y)
    np.testing.assert_allclose(by_hand.coef_, balanced.coef_, atol=1e-6)
    weights = np.asarray([table[k] for k in y])
    weighted = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y, weights)
    np.testing.assert_allclose(weighted.coef_, balanced.coef_, atol=1e-6)
    plain = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    assert np.abs(plain.coef_ - balanced.coef_).max() > 1e-3


@pytest.mark.parametrize("loss", [*REGRESSORS, *CLASSIFIERS])
def test_single_precision_stays(loss):
    X, y = data_of(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # kinks at the precision's limit
        model = made(loss, alpha=0.1).fit(X.astype("float32"), y)
    assert model.coef_.dtype == model.intercept_.dtype == "float32"
    exact = made(loss, alpha=0.1).fit(X, y)
    if loss in REGRESSORS:
        assert model.predict(X.astype("float32")).dtype == "float32"
        spread = np.std(exact.predict(X))
        np.testing.assert_allclose(model.predict(X), exact.predict(X), atol=0.05 * spread)
    else:
        assert model.decision_function(X.astype("float32")).dtype == "float32"
        assert np.mean(model.predict(X) == exact.predict(X)) > 0.97


# -- methods, going on ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lbfgs", "cg", fl.solvers.LBFGS(history=5), "fista"])
def test_solvers_agree(method):
    X, y = data_of("log_loss")
    expected = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    found = LinearClassifier(alpha=0.1, method=method, tol=1e-7, max_iter=20000).fit(X, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4)


def test_penalties():
    X, y = standardised("wine")
    one = LinearClassifier(penalty=fl.L2(0.1), **TIGHT).fit(X, y)
    named = LinearClassifier(alpha=0.1, **TIGHT).fit(X, y)
    np.testing.assert_array_equal(one.coef_, named.coef_)
    sparse = LinearClassifier(penalty="l1", alpha=0.05).fit(X, y)
    assert 0 < np.mean(sparse.coef_ == 0) < 1
    groups = LinearClassifier(penalty=fl.GroupL1(0.05)).fit(X, y)  # whole features
    assert 0 < np.mean(np.all(groups.coef_ == 0, axis=0)) < 1


def test_a_rule_is_fl_fit():
    X, y = data_of("squared_error")
    ours = LinearRegressor(method=fl.Adam(0.1), batch_size=16, max_iter=4, tol=None)
    ours.set_params(random_state=3, fit_intercept=False).fit(X, y)
    seed = np.random.RandomState(3).randint(np.iinfo(np.int32).max)
    model = fl.LinearModel(fl.losses.SquaredError(), fl.L2(3e-3), fit_intercept=False)
    res = fl.fit(model, (X, y), method=fl.Adam(0.1), batch_size=16, epochs=4, rng=int(seed))
    np.testing.assert_allclose(ours.coef_, res.params["weights"], rtol=1e-10)
    assert ours.n_iter_ == 4
    np.testing.assert_allclose(ours.history_["loss"], res.history["loss"], rtol=1e-10)


def test_a_rule_stops_when_nothing_gets_better():
    X, y = data_of("log_loss")
    model = LinearClassifier(method=fl.Adam(0.05), tol=1e-3, n_iter_no_change=3).fit(X, y)
    losses = model.history_["loss"]
    assert model.n_iter_ == len(losses) < 1000
    assert min(losses[-3:]) > min(losses[:-3]) - 1e-3 * np.log(3)
    with pytest.warns(ConvergenceWarning, match="3 epochs were made without convergence"):
        model.set_params(max_iter=3).fit(X, y)


def test_no_convergence_is_a_warning():
    X, y = data_of("log_loss")
    with pytest.warns(ConvergenceWarning, match="2 iterations were made") as caught:
        LinearClassifier(max_iter=2).fit(X, y)
    assert caught[0].filename == __file__
    model = LinearClassifier("hinge", tol=1e-3).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=f"{model.n_iter_ - 1} iterations were made"):
        clone(model).set_params(max_iter=model.n_iter_ - 1).fit(X, y)
    assert clone(model).set_params(max_iter=model.n_iter_).fit(X, y).n_iter_ == model.n_iter_


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_warm_start(loss):
    X, y = data_of(loss)
    model = made(loss, alpha=0.1, warm_start=True, tol=1e-6).fit(X, y)
    first, coef = model.n_iter_, model.coef_
    model.fit(X, y)
    assert model.n_iter_ <= 2 < first
    np.testing.assert_allclose(model.coef_, coef, atol=1e-5)
    with pytest.raises(ValueError, match="warm_start: weights: shape is"):
        model.fit(X[:, :-1], y)
    assert model.set_params(warm_start=False).fit(X, y).n_iter_ == first


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "hinge"])
def test_partial_fit_approaches_fit(loss):
    X, y = data_of(loss)
    options = {"classes": np.unique(y)} if loss in CLASSIFIERS else {}
    model = made(loss, alpha=0.1, method=fl.Adam(0.5 if loss in REGRESSORS else 0.02))
    for _ in range(150):
        for start in range(0, len(y), 30):
            part = slice(start, start + 30)
            model.partial_fit(X[part], y[part], **options)
    whole = made(loss, alpha=0.1).fit(X, y)
    assert model.score(X, y) == pytest.approx(whole.score(X, y), abs=0.02)
    assert model.n_iter_ == 150 * len(range(0, len(y), 30)) == len(model.history_["loss"])


def test_partial_fit_is_a_loop_of_an_optimizer():
    X, y = data_of("squared_error")
    model = LinearRegressor(method=fl.SGD(0.1, momentum=0.9), fit_intercept=False, penalty="l1")
    w = np.zeros(X.shape[1])
    opt = fl.Optimizer(w, fl.SGD(0.1, momentum=0.9), penalty=fl.L1(3e-3))
    for part in (slice(0, 50), slice(50, 100), slice(100, 120)):
        model.partial_fit(X[part], y[part])
        opt.step(2 * X[part].T @ (X[part] @ w - y[part]) / len(y[part]))
    np.testing.assert_allclose(model.coef_, w, rtol=1e-10)
    before = model.coef_
    kept = before.copy()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        model.partial_fit(X, y).coef_, again.partial_fit(X, y).coef_
    )  # the momentum too
    np.testing.assert_array_equal(before, kept)
    assert model.fit(X, y).coef_ is not before  # and it begins anew
    assert not hasattr(model, "_optimizer")


def test_partial_fit_with_text_and_new_labels():
    X, y = data_of("log_loss")
    names = np.asarray(["a", "b", "c"])
    model = LinearClassifier().partial_fit(X, names[y], classes=["c", "b", "a"])
    np.testing.assert_array_equal(model.classes_, names)
    assert set(model.predict(X)) <= set(names)
    with pytest.raises(ValueError, match="labels that are not in classes"):
        model.partial_fit(X, np.full(len(y), "d"))
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit(X, names[y], classes=["a", "b"])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        LinearClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        LinearClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("method", ["auto", fl.Adam(0.05)])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_early_stopping(loss, method):
    X, y = standardised("diabetes" if loss in REGRESSORS else "breast_cancer")
    model = made(
        loss, alpha=0.0, method=method, early_stopping=True, tol=0.0, n_iter_no_change=4,
        random_state=0, validation_fraction=0.25,
    )  # fmt: skip
    if loss == "squared_error" and method != "auto":
        model.set_params(method=fl.Adam(5.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    seen = model.history_["validation_loss"]
    best = int(np.argmin(seen))
    assert len(seen) == model.n_iter_
    if best < len(seen) - 1:
        assert len(seen) - 1 - best <= 4
        # the parameters are those of the best epoch
        again = clone(model).set_params(early_stopping=True, max_iter=best + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            np.testing.assert_array_equal(again.fit(X, y).coef_, model.coef_)


def test_same_seed_same_bits():
    X, y = data_of("log_loss")
    options = {"method": "adam", "batch_size": 16, "max_iter": 3, "tol": None}
    one, two, other = (
        LinearClassifier(random_state=seed, **options).fit(X, y).coef_ for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_verbose_prints(capsys):
    X, y = data_of("squared_error")
    LinearRegressor(method="adam", max_iter=4, tol=None).fit(X, y)
    assert not capsys.readouterr().out
    LinearRegressor(method="adam", max_iter=4, tol=None, verbose=2).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": loss ")[0] for line in lines] == ["epoch 2", "epoch 4"]
    model = LinearRegressor(early_stopping=True, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_
    last = model.history_["validation_loss"][-1]
    assert lines[-1].endswith(f"validation_loss {last:.6g}")


# -- in scikit-learn's tools ----------------------------------------------------------------------


def test_grid_search_over_alpha():
    X, y = datasets.load_wine(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), LinearClassifier())
    grid = {"linearclassifier__alpha": [1e-3, 1e-1, 1e3], "linearclassifier__max_iter": [
        np.int64(1000)
    ]}  # fmt: skip
    search = GridSearchCV(pipe, grid, cv=3).fit(X, y)
    assert search.best_params_["linearclassifier__alpha"] < 1e3
    assert search.best_score_ > 0.95


@pytest.mark.parametrize("loss", ["poisson", "hinge"])
def test_pickles_and_clones(loss):
    X, y = data_of(loss)
    model = made(loss, random_state=0).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.history_["loss"], model.history_["loss"])
    fresh = clone(model)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    np.testing.assert_array_equal(fresh.fit(X, y).coef_, model.coef_)


# -- arrays of other libraries --------------------------------------------------------------------

NAMESPACES = """
import sys, warnings
import numpy as np
import pytest
from sklearn import config_context, datasets
from sklearn.preprocessing import StandardScaler
import fallline as fl
from fallline.estimators import LinearClassifier, LinearRegressor
from tests.backends import make

warnings.simplefilter("error")
numpy, other = make("numpy"), make(sys.argv[1])
if other.name in ("array_api_strict", "dpnp"):
    other.refuse_conversions(pytest.MonkeyPatch())
for loss in sys.argv[2:]:
    regression = loss in {"squared_error", "quantile", "gamma"}
    kind = LinearRegressor if regression else LinearClassifier
    load = datasets.load_diabetes if regression else datasets.load_wine
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    for options in (
        {"alpha": 0.1},
        {"method": fl.Adam(0.05), "batch_size": 50, "max_iter": 3, "tol": None},
        {"early_stopping": True, "alpha": 0.1, "method": fl.Adam(0.05), "tol": 0.05},
    ):
        seen = []
        for library in (numpy, other):
            with config_context(array_api_dispatch=True):
                model = kind(loss, random_state=0, **options)
                model.fit(library.array(X), library.array(y), library.array(np.ones(len(y))))
                if "method" in options:
                    model.partial_fit(library.array(X), library.array(y))
                found = [model.coef_, model.predict(library.array(X))]
                if loss in {"log_loss", "modified_huber"}:
                    found.append(model.predict_proba(library.array(X)))
                if not regression:
                    found.append(model.classes_)
                assert isinstance(model.score(library.array(X), library.array(y)), float)
                seen.append([library.numpy(x) for x in found])
                if library is other and not regression:
                    text = np.asarray(["a", "b", "c"])[y]
                    named = kind(loss, random_state=0, **options).fit(library.array(X), text)
                    assert set(named.predict(library.array(X))) <= {"a", "b", "c"}
                    library.numpy(named.coef_)
        for one, two in zip(*seen, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    try:
        model.predict(X)
    except ValueError as error:
        assert "must use the same namespace" in str(error)
    else:
        raise AssertionError("an array of another library was taken")
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_namespaces(library):
    present(library)
    more = () if library == "dpnp" else ("gamma", "modified_huber")  # there each takes seconds
    dispatched(NAMESPACES, library, "squared_error", "log_loss", *more)


def test_without_dispatch_all_is_numpy_s():
    torch = pytest.importorskip("torch")
    X, y = data_of("log_loss")
    model = LinearClassifier().fit(torch.from_numpy(X), torch.from_numpy(y))
    assert isinstance(model.coef_, np.ndarray)
    assert isinstance(model.predict(torch.from_numpy(X)), np.ndarray)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "log_los"}, ValueError, "unknown loss 'log_los'; did you mean 'log_loss'"),
        ({"loss": "poisson"}, ValueError, "unknown loss 'poisson'"),
        ({"loss": fl.losses.Poisson()}, TypeError, "loss: is Poisson"),
        ({"loss": fl.losses.Hinge(reduction="sum")}, ValueError, "reduction is sum"),
        ({"penalty": "l3"}, ValueError, "unknown penalty 'l3'"),
        ({"penalty": 3}, TypeError, "penalty: is 3"),
        ({"alpha": -1.0}, ValueError, r"alpha=\): is -1"),
        ({"penalty": "elasticnet", "l1_ratio": 2.0}, ValueError, r"l1_ratio=\): is 2"),
        ({"method": "newton"}, ValueError, "unknown method 'newton'"),
        ({"max_iter": 0}, ValueError, "max_iter: is 0"),
        ({"max_iter": 1.5}, TypeError, "max_iter: is 1.5"),
        ({"batch_size": -1}, ValueError, "batch_size: is -1"),
        ({"tol": -1.0}, ValueError, "tol: is -1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: is 0"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight: is"),
        ({"class_weight": "heavy"}, ValueError, "class_weight"),
        ({"penalty": "l1", "method": "lbfgs"}, ValueError, "LBFGS needs a smooth one"),
    ],
)
def test_arguments(options, error, message):
    X, y = data_of("log_loss")
    with pytest.raises(error, match=message):
        LinearClassifier(**options).fit(X, y)


def test_data():
    X, y = data_of("log_loss")
    hole = X.copy()
    hole[3, 2] = np.nan
    t = y.astype(float)
    t[0] = np.nan
    for kind in (LinearClassifier, LinearRegressor):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            kind().fit(hole, y)
        with pytest.raises(ValueError, match=r"Input y contains NaN|continuous"):
            kind().fit(X, t)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            kind().fit(X, y[:-1])
        with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
            kind().fit(X, y, sample_weight=-np.ones(len(y)))
        with pytest.raises(ValueError, match="at least one non-zero"):
            kind().fit(X, y, sample_weight=np.zeros(len(y)))
        with pytest.raises(ValueError, match=r"sample_weight.shape == "):
            kind().fit(X, y, sample_weight=np.ones(3))
        with pytest.raises(ValueError, match="is expecting 13 features"):
            kind().fit(X, y).predict(X[:, :-1])
        classes = {"classes": [0, 1, 2]} if kind is LinearClassifier else {}
        with pytest.raises(TypeError, match="partial_fit takes an update rule"):
            kind(method="lbfgs").partial_fit(X, y, **classes)
    with pytest.raises(ValueError, match=r"only one class: (np.int64\()?1"):
        LinearClassifier().fit(X, np.ones(len(y), dtype=int))
    with pytest.raises(AttributeError, match="predict_proba"):
        LinearClassifier("hinge").fit(X, y).predict_proba(X)
    for loss, worst in (("poisson", -1.0), ("gamma", 0.0)):
        with pytest.raises(ValueError, match="out of the valid range of the loss"):
            LinearRegressor(loss).fit(X, np.where(y == 0, worst, 1.0))


def test_numbers_that_blow_up():
    X, y = data_of("squared_error")
    model = LinearRegressor(method=fl.SGD(1e200), max_iter=5)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="lower the learning rate"):
        model.fit(X, y)


def test_ctrl_c_goes_on(monkeypatch):
    X, y = data_of("squared_error")

    def interrupt(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr("fallline.estimators._reports.Printed.on_epoch", interrupt)
    model = LinearRegressor(verbose=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
