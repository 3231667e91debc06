"""What the linear estimators share: checks of the input, fitting, going on."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils._array_api import get_namespace
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import _arrays, callbacks, rules, solvers, stop
from .._arrays import _checks, _sparse
from ..data import Batches
from ..fitting._fit import fit
from ..fitting._history import History
from ..losses import Loss
from ..objectives._linear_model import LinearModel, dense_like
from ..optimizer import Optimizer
from ..penalties import L1, L2, ElasticNet
from ._losses import PerRow, stages

PENALTIES = ("l2", "l1", "elasticnet")
BATCH = 256


class LinearEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators."""

    # The estimators' own __init__ set these; scikit-learn reads them off the signature.
    loss: Any
    penalty: Any
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    method: Any
    batch_size: int | None
    max_iter: int
    tol: float | None
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    warm_start: bool
    random_state: Any
    verbose: int
    coef_: Any
    intercept_: Any
    n_iter_: int
    history_: History

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn may expect."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    # -- input ------------------------------------------------------------------------------------

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, numeric: bool
    ) -> tuple[Any, Any, Any]:
        # The arrays, all where X is.
        xp, _ = get_namespace(X)
        _sparse.check("X", X)  # scikit-learn converts it by its indices
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=[xp.float64, xp.float32], y_numeric=numeric,
            reset=reset,
        )  # fmt: skip
        if not reset:
            self._same_place(X, "partial_fit")
        like = dense_like(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(beside(sample_weight, like), X, dtype=like.dtype)
            wxp = _arrays.namespace(sample_weight)
            if _arrays.to_float(wxp.min(sample_weight)) < 0:
                msg = "Negative values in data passed to `sample_weight`"
                raise ValueError(msg)
            if _arrays.to_float(wxp.max(sample_weight)) <= 0:
                msg = "Sample weights must contain at least one non-zero number."
                raise ValueError(msg)
        return X, beside(y, like), sample_weight

    def _same_place(self, X: Any, method: str) -> None:
        like, coef = dense_like(X), self.coef_
        if (
            _arrays.namespace(like) is _arrays.namespace(coef)
            and _arrays.device(like) == _arrays.device(coef)
        ):  # fmt: skip
            return
        places = [f"{_arrays.library(x)} on {_arrays.device(x)}" for x in (coef, like)]
        msg = (
            f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and "
            f"the same device as those passed to fit(): {places[0]} there, {places[1]} here"
        )
        raise ValueError(msg)

    def _decision(self, X: Any, method: str) -> Any:
        # The linear predictions, of shape (n,) or (n, outputs).
        check_is_fitted(self)
        xp, _ = get_namespace(X)
        dtype = [xp.float64, xp.float32]
        _sparse.check("X", X)
        X = validate_data(self, X, accept_sparse="csr", dtype=dtype, reset=False)
        self._same_place(X, method)
        like, weights, shift = dense_like(X), self.coef_, self.intercept_
        if weights.ndim == 2:
            one = weights.shape[0] == 1
            weights, shift = (weights[0, ...], shift[0]) if one else (weights.T, shift)
        if _arrays.is_array(shift):
            shift = _arrays.cast(shift, like)
        return X @ _arrays.cast(weights, like) + shift

    # -- what is minimized ----------------------------------------------------------------------

    def _model(self, loss: Loss, outputs: int | None) -> LinearModel:
        penalty = self.penalty
        if isinstance(penalty, str):
            if penalty not in PENALTIES:
                raise _checks.unknown_name("penalty", penalty, PENALTIES)
            if penalty == "elasticnet":
                penalty = ElasticNet(self.alpha, self.l1_ratio)
            else:
                penalty = L1(self.alpha) if penalty == "l1" else L2(self.alpha)
        intercept = bool(self.fit_intercept)
        return LinearModel(PerRow(loss=loss), penalty, intercept, outputs)

    def _start(
        self, model: LinearModel, X: Any, target: Any, weights: Any, *, go_on: bool
    ) -> dict[str, Any]:
        params = model.initialize(X, target)
        if not go_on:
            return self._guess(params, target, weights)
        self._same_place(X, "fit")
        coef = self.coef_
        if coef.ndim == 2:
            coef = coef.T if params["weights"].ndim == 2 else coef[0, ...]
        before = {"weights": coef, "intercept": self.intercept_}
        for name, zeros in params.items():
            xp = _arrays.namespace(zeros)
            old = before[name]
            old = old if _arrays.is_array(old) else xp.asarray(old, **_arrays.placed(zeros))
            if name == "intercept":
                old = xp.reshape(old, zeros.shape) if math.prod(old.shape) == 1 else old
            if old.shape != zeros.shape:
                place = f"warm_start: {name}"
                raise ValueError(_checks.mismatch(place, "shape", old.shape, zeros.shape))
            params[name] = _arrays.moved(old, zeros, zeros.dtype)
        return params

    def _guess(self, params: dict[str, Any], target: Any, weights: Any) -> dict[str, Any]:
        """Return a start for parameters of zeros."""
        return params

    def _method(self, model: LinearModel) -> Any:
        if not (isinstance(self.method, str) and self.method == "auto"):
            return solvers.get(self.method)
        if model.penalty is None or model.penalty.smooth:
            return solvers.LBFGS()
        if isinstance(model.penalty, L1 | ElasticNet):
            return solvers.OWLQN()
        return solvers.ProximalGradient(accelerated=True)

    # -- fitting --------------------------------------------------------------------------------

    def _train(
        self, X: Any, target: Any, weights: Any, loss: Loss, outputs: int | None, strata: Any
    ) -> None:  # fmt: skip
        # Fit, and take down what was found; `strata` are labels on the host.
        model = self._model(loss, outputs)
        method = self._method(model)
        limit = whole("max_iter", self.max_iter)
        tol = None if self.tol is None else _checks.number("tol", self.tol, 0.0, math.inf)
        patience = whole("n_iter_no_change", self.n_iter_no_change)
        batch_size = BATCH if self.batch_size is None else whole("batch_size", self.batch_size)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        if weights is not None:
            weights = weights * (X.shape[0] / _arrays.namespace(weights).sum(weights))
        data, held = (X, target, weights), None
        if self.early_stopping:
            data, held = self._split(data, strata, seed)
        X, target, weights = data
        go_on = bool(self.warm_start) and hasattr(self, "coef_")
        params = self._start(model, X, target, weights, go_on=go_on)
        hooks: list[Any] = [callbacks.Log(int(self.verbose))] if self.verbose else []
        a_solver = isinstance(method, solvers.Solver)
        if self.early_stopping or (not a_solver and tol is not None):
            hooks.append(
                callbacks.EarlyStopping(
                    patience - 1, by=tol or 0.0, restore_best=bool(self.early_stopping)
                )
            )
        if a_solver:
            rounded = isinstance(self.method, str) and self.method == "auto"
            losses = stages(loss, self._scale(params, target, weights)) if rounded else [loss]
            options = {"stop": self._stop(method, tol, X)}
        else:
            losses = [loss]
            options = {"batch_size": min(batch_size, X.shape[0]), "rng": int(seed)}
        self.__dict__.pop("_optimizer", None)
        self.history_, self.n_iter_ = History(), 0
        for one in losses:
            found = fit(
                self._model(one, outputs), (X, target), method=method, params=params,
                weights=weights, epochs=limit - self.n_iter_, validation=held,
                callbacks=hooks, **options,
            )  # fmt: skip
            params = found.params
            self.n_iter_ += found.epochs
            for name, values in found.history.items():
                for value in values:
                    self.history_.add(name, value)
            if found.status in (3, 98):
                break
        self._take(params)
        self._judge(found, waits=a_solver or tol is not None)

    def _scale(self, params: dict[str, Any], target: Any, weights: Any) -> float:
        """Return the scale of the errors, for rounded kinks."""
        return 1.0

    def _stop(self, method: Any, tol: float | None, X: Any) -> Any:
        if tol is None:
            return None
        if isinstance(method, solvers.ProximalGradient):
            return stop.GradientNorm(tol)  # its values need not fall
        epsilon = _arrays.EPSILON[_arrays.dtype_name(dense_like(X))]
        return stop.GradientNorm(tol) | stop.RelativeDecrease(2 * epsilon)

    def _split(self, data: Any, strata: Any, seed: int) -> tuple[Any, Any]:
        fraction = self.validation_fraction
        _checks.positive("validation_fraction", fraction, below=1.0)
        kind = ShuffleSplit if strata is None else StratifiedShuffleSplit
        splitter = kind(n_splits=1, test_size=fraction, random_state=seed)
        X = data[0]
        parts = next(splitter.split(np.zeros((X.shape[0], 1)), strata))
        train, held = (
            tuple(
                None if x is None
                else x[part] if hasattr(x, "tocsr")
                else _arrays.rows(x, _arrays.from_numpy(part, x))
                for x in data
            )
            for part in parts
        )  # fmt: skip
        return train, tuple(x for x in held if x is not None)

    def _judge(self, found: Any, *, waits: bool) -> None:
        if found.status == 98:
            raise KeyboardInterrupt
        if found.status == 3:
            msg = f"{found.message}: scale the features, or lower the learning rate"
            raise ValueError(msg)
        what = found.message.partition(" ")[2]
        ended = what.endswith("were made")  # by the limit
        if waits if ended else not found.success:
            msg = f"{self.n_iter_} {what} without convergence" if ended else found.message
            msg += "; scale the features, or raise max_iter or tol"
            warnings.warn(msg, ConvergenceWarning, stacklevel=4)

    def _take(self, params: dict[str, Any]) -> None:
        # Copies, which later steps do not write.
        w = params["weights"]
        self.coef_ = _arrays.moved(w.T if w.ndim == 2 else w, w, w.dtype)
        b = params.get("intercept")
        self.intercept_ = 0.0 if b is None else _arrays.moved(b, b, b.dtype)

    # -- going on -------------------------------------------------------------------------------

    def _go_on(
        self, X: Any, target: Any, weights: Any, loss: Loss, outputs: int | None
    ) -> None:  # fmt: skip
        # One epoch over the rows given.
        model = self._model(loss, outputs)
        opt = self.__dict__.get("_optimizer")
        if opt is None:
            go_on = hasattr(self, "coef_")
            params = self._start(model, X, target, weights, go_on=go_on)
            opt = Optimizer(params, self._rule(), penalty=model.beside)
            self._random = np.random.default_rng(
                int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            )
            if not go_on:
                self.history_, self.n_iter_ = History(), 0
        n = X.shape[0]
        size = n if self.batch_size is None else min(whole("batch_size", self.batch_size), n)
        arrays = (X, target) if weights is None else (X, target, weights)
        batches = Batches(*arrays, batch_size=size, shuffle=size < n, rng=self._random)
        total: Any = 0.0
        for batch in batches:
            value, gradient = model.value_and_gradient(opt.params, *batch)
            opt.step(gradient)
            total = total + _arrays.detached(value) * (batch[0].shape[0] / n)
        self._optimizer = opt
        self.history_.add("loss", total)
        self.n_iter_ += 1
        self._take(opt.params)

    def _rule(self) -> Any:
        if isinstance(self.method, str) and self.method == "auto":
            adam: Any = rules.Adam  # mypy sees no defaults of its fields
            return adam(1e-2)
        rule = solvers.get(self.method)
        if isinstance(rule, solvers.Solver):
            msg = f"method: is {rule!r}, but partial_fit takes an update rule"
            raise TypeError(msg)
        return rule


def whole(name: str, value: Any) -> int:
    """Return a positive integer, of Python or NumPy."""
    return _checks.count(name, value, 1)


def beside(x: Any, like: Any) -> Any:
    """Return an array of numbers where `like` is; NumPy's text stays where it is."""
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biufc":
        return x
    if _arrays.is_array(x) and _arrays.namespace(x) is _arrays.namespace(like):
        if _arrays.device(x) == _arrays.device(like):
            return x
        return _arrays.moved(x, like, x.dtype)
    if not _arrays.is_array(x):
        return x
    return _arrays.from_numpy(_arrays.to_numpy(x), like)
