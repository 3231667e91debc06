"""Arrays of other libraries under scikit-learn's dispatch."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's")

from fallline.estimators import LinearClassifier
from tests import backends
from tests.helpers import data_for

LIBRARIES = ("torch", "array_api_strict", "dpnp")


def dispatched(program, *arguments):
    """Run a program where scikit-learn looks at the library of its arrays."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


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


@pytest.mark.slow
@pytest.mark.parametrize("libraries", ["numpy torch array_api_strict", "dpnp"])
def test_scikit_learn_s_array_api_checks_pass(libraries):
    for name in libraries.split():
        backends.required(name)
    more = [] if libraries == "dpnp" else ["several"]  # those of arrays of two libraries
    done = dispatched(ARRAY_API, *libraries.split(), *more)
    assert int(done.stdout) >= (4 * 2 if libraries == "dpnp" else 8 * 6)


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
def test_results_are_arrays_of_the_library_of_the_data(library):
    backends.required(library)
    more = () if library == "dpnp" else ("gamma", "modified_huber")  # there each takes seconds
    dispatched(NAMESPACES, library, "squared_error", "log_loss", *more)


def test_without_dispatch_all_is_numpy_s():
    torch = pytest.importorskip("torch")
    X, y = data_for("log_loss")
    model = LinearClassifier().fit(torch.from_numpy(X), torch.from_numpy(y))
    assert isinstance(model.coef_, np.ndarray)
    assert isinstance(model.predict(torch.from_numpy(X)), np.ndarray)
