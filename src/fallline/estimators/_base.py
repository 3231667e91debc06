"""What the linear estimators share: fitting, going on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _arrays, constraints, rules, solvers, stop
from .._arrays import _checks, is_sparse
from .._arrays._types import Array, HostArray, Tree
from ..callbacks import Callback, EarlyStopping
from ..data import Batches
from ..fitting._epochs import steps
from ..fitting._fit import fit
from ..fitting._history import History
from ..fitting._objective import Batchwise, aside
from ..losses import Loss
from ..objectives._linear_model import LinearModel, dense_like
from ..optimizer import Optimizer
from ..penalties import L1, L2, ElasticNet
from . import _input, _reports, _sparse
from ._choice import chosen, is_automatic
from ._columns import Columns, Standardised, curvature, l2_weight, slopes
from ._losses import PerRow, is_kinked, stages
from ._parameters import Parameters
from ._separation import without_end

PENALTIES = ("l2", "l1", "elasticnet")
BATCH = 256
MARGIN = 0.1  # errors of coefficients are those of the gradient over the curvature, below 1


class LinearEstimator(_sparse.SparseCoefficients, Parameters, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators."""

    intercept_: Array
    n_iter_: int
    history_: History
    _bound: dict[str, object]

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn may expect."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    # -- input ------------------------------------------------------------------------------------

    def _checked(
        self, X: Array, y: Array, sample_weight: Array, *, reset: bool, numeric: bool
    ) -> tuple[Array, Array, Array]:
        # The arrays, all where X is.
        X, y = _input.data(self, X, y, reset=reset, numeric=numeric)
        if not reset:
            self._same_place(X, "partial_fit")
        return X, y, None if sample_weight is None else _input.row_weights(sample_weight, X)

    def _same_place(self, X: Array, method: str) -> None:
        like, coef = dense_like(X), dense_like(self.coef_)
        known = _arrays.namespace(like) is _arrays.namespace(coef)
        if known and _arrays.device(like) == _arrays.device(coef):
            return
        places = [f"{_arrays.library(x)} on {_arrays.device(x)}" for x in (coef, like)]
        msg = (
            f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and "
            f"the same device as those passed to fit(): {places[0]} there, {places[1]} here"
        )
        raise ValueError(msg)

    def _decision(self, X: Array, method: str) -> Array:
        # The linear predictions, of shape (n,) or (n, outputs).
        check_is_fitted(self)
        X = _input.features(self, X)
        self._same_place(X, method)
        like, weights, shift = dense_like(X), self.coef_, self.intercept_
        if is_sparse(weights):
            return _sparse.decision(X, weights, shift)
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
            if penalty.lower() == "none":
                msg = f"penalty: is {penalty!r}, expected None for no penalty"
                raise ValueError(msg)
            if penalty not in PENALTIES:
                raise _checks.unknown_name("penalty", penalty, PENALTIES)
            if penalty == "elasticnet":
                penalty = ElasticNet(self.alpha, self.l1_ratio)
            else:
                penalty = L1(self.alpha) if penalty == "l1" else L2(self.alpha)
        intercept = bool(self.fit_intercept)
        return LinearModel(PerRow(loss=loss), penalty, intercept, outputs)

    def _constraint(self, model: LinearModel) -> Tree:
        if not self.positive:
            return None
        return dict.fromkeys(model.beside) | {"weights": constraints.NonNegative()}

    def _start(
        self, model: LinearModel, X: Array, target: Array, weights: Array, *, go_on: str = ""
    ) -> dict[str, Array]:
        # The parameters to begin with: those of before, for the option or method `go_on`.
        params = model.initialize(X, target)
        if not go_on:
            return self._guess(params, target, weights)
        self._same_place(X, "fit")
        coef = self._dense()
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
                place = f"{go_on}: {name}"
                raise ValueError(_checks.mismatch(place, "shape", old.shape, zeros.shape))
            params[name] = _arrays.moved(old, zeros, zeros.dtype)
        return params

    def _guess(self, params: dict[str, Array], target: Array, weights: Array) -> dict[str, Array]:
        """Return a start for parameters of zeros."""
        return params

    # -- fitting --------------------------------------------------------------------------------

    def _train(
        self, X: Array, target: Array, weights: Array, loss: Loss, outputs: int | None,
        strata: HostArray | None,
    ) -> None:  # fmt: skip
        # Fit, and take down what was found; `strata` are labels on the host.
        model = self._model(loss, outputs)
        method = chosen(
            self.method, model, loss, X, self._constraint(model), whole=not self.early_stopping
        )
        limit = _checks.count("max_iter", self.max_iter, 1)
        tol = None if self.tol is None else _checks.number("tol", self.tol, 0.0, math.inf)
        patience = _checks.count("n_iter_no_change", self.n_iter_no_change, 1)
        batch_size = self._batch_rows(BATCH)
        seed = self._seed()
        if weights is not None:
            weights = weights * (X.shape[0] / _arrays.namespace(weights).sum(weights))
        data, held = (X, target, weights), None
        if self.early_stopping:
            data, held = self._split(data, strata, seed)
        X, target, weights = data
        go_on = "warm_start" if self.warm_start and hasattr(self, "coef_") else ""
        params = self._start(model, X, target, weights, go_on=go_on)
        hooks: list[Callback] = [_reports.Printed(int(self.verbose))] if self.verbose else []
        a_solver = isinstance(method, solvers.Solver)
        if self.early_stopping or (not a_solver and tol is not None):
            by = tol * self._fall(model, X, target, weights) if tol else 0.0
            best = bool(self.early_stopping)
            hooks.append(EarlyStopping(patience - 1, by=by, restore_best=best))
        standard: Standardised | None = None
        losses: Iterable[Loss] = [loss]
        end: stop.Condition | None = None
        if a_solver:
            columns = Columns.of(X, weights, centred=model.fit_intercept)
            none, guess = self._null(model, X, target, weights)
            firm, least, most = columns, 1.0, 1.0
            bend = 0.0 if is_kinked(loss) else curvature(loss, guess, target, weights)
            if bend > 0 and (weight := l2_weight(model.penalty)):
                firm, least, most = columns.damped(weight / bend)
            standard = problem = Standardised.of(model, firm)
            params = problem.scaled(params)
            if tol is not None:
                # In the unit of the slopes where only the intercept is fitted; no more exact than
                # the precision of those without it, or half of it where a step is a factorization.
                margin = 1.0 if is_kinked(loss) else MARGIN
                unit = slopes(loss, guess, target, weights, centred=model.fit_intercept)
                size = slopes(loss, none, target, weights, centred=False)
                epsilon = _arrays.EPSILON[_arrays.dtype_name(none)]
                floor = epsilon * size * most * (0.5 if type(method) is solvers.Newton else 1.0)
                end = stop.GradientNorm(max(margin * tol * unit * least, floor))

            def standing() -> tuple[float, float]:
                # The objective as it is now, by the loss without rounding.
                plain = problem.plain(params)
                value = model.value_and_gradient(plain, X, target, weights)[0]
                rest = model.beside["weights"]
                more = 0.0 if rest is None or not rest.valued else rest.value(plain["weights"])
                return _arrays.to_float(value + more), columns.rounding(plain)

            if is_automatic(self.method):
                losses = stages(loss, standing, outputs or 1)
        self.__dict__.pop("_optimizer", None)
        self.history_, self.n_iter_ = History(), 0
        for one in losses:
            found = fit(
                model if standard is None else standard.with_loss(PerRow(loss=one)),
                (X, target), method=method, params=params, weights=weights,
                batch_size=None if a_solver else min(batch_size, X.shape[0]),
                epochs=limit - self.n_iter_, rng=None if a_solver else seed, validation=held,
                constraint=self._constraint(model), stop=end, callbacks=hooks,
            )  # fmt: skip
            params = found.params
            self.n_iter_ += found.epochs
            for name, values in found.history.items():
                for value in values:
                    self.history_.add(name, value)
            if found.status in (3, 98):
                break
        self._take(params := params if standard is None else standard.plain(params))
        endless = a_solver and held is None and without_end(model, loss, params, data)
        kinked = a_solver and is_kinked(loss) and not is_automatic(self.method)
        _reports.judge(found, self.n_iter_, tol, endless=endless, kinked=kinked)

    def _null(
        self, model: LinearModel, X: Array, target: Array, weights: Array
    ) -> tuple[Array, Array]:
        # Predictions of zero, and of an intercept alone.
        start = model.initialize(X, target)
        w = start["weights"]
        none = _arrays.full(w, 0.0, w.dtype, (int(X.shape[0]), *w.shape[1:]))
        return none, none + self._guess(start, target, weights).get("intercept", 0.0)

    def _fall(self, model: LinearModel, X: Array, target: Array, weights: Array) -> float:
        # How far the loss can fall from where only the intercept is fitted.
        _, guess = self._null(model, X, target, weights)
        best = self._best(guess, target)
        high, low = (
            0.0 if pred is None
            else _arrays.to_float(model.loss.value_and_gradient(pred, target, weights)[0])
            for pred in (guess, best)
        )  # fmt: skip
        return max(high - low, 0.0)

    def _best(self, pred: Array, target: Array) -> Array:
        """Return the predictions of the least loss; `None` if that is zero."""
        return None

    def _split(
        self, data: tuple[Array, ...], strata: HostArray | None, seed: int
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        # The rows to be fitted, and those to be held out.
        fraction = self.validation_fraction
        _checks.positive("validation_fraction", fraction, below=1.0)
        kind = ShuffleSplit if strata is None else StratifiedShuffleSplit
        splitter = kind(n_splits=1, test_size=fraction, random_state=seed)
        X = data[0]
        parts = next(splitter.split(np.zeros((X.shape[0], 1)), strata))
        train, held = (
            tuple(
                None if x is None
                else x[part] if _arrays.is_sparse(x)
                else _arrays.rows(x, _arrays.from_numpy(part, x))
                for x in data
            )
            for part in parts
        )  # fmt: skip
        for what, part in (("training", train), ("validation", held)):
            if part[2] is not None and not _input.anything(part[2]):
                msg = (
                    f"sample_weight: is zero for all rows of the {what} set, expected some above "
                    "zero; take another random_state or validation_fraction"
                )
                raise ValueError(msg)
        return train, tuple(x for x in held if x is not None)

    def _take(self, params: dict[str, Array]) -> None:
        # Copies, which later steps do not write.
        w = params["weights"]
        self.coef_ = _arrays.moved(w.T if w.ndim == 2 else w, w, w.dtype)
        b = params.get("intercept")
        self.intercept_ = 0.0 if b is None else _arrays.moved(b, b, b.dtype)

    # -- going on -------------------------------------------------------------------------------

    def _go_on(
        self, X: Array, target: Array, weights: Array, loss: Loss, outputs: int | None
    ) -> None:  # fmt: skip
        # One epoch over the rows given, from the coefficients and by the options of now.
        model, rule = self._model(loss, outputs), self._rule()
        go_on = "partial_fit" if hasattr(self, "coef_") else ""
        params = self._start(model, X, target, weights, go_on=go_on)
        constraint = self._constraint(model)
        apart, penalty = aside(model, rule, model.beside, constraint, params)
        options = {"penalty": penalty, "constraint": constraint}
        bound = {"rule": rule, **options, "dtype": _arrays.dtype_name(params["weights"])}
        opt = self.__dict__.get("_optimizer")
        if opt is None:
            opt = Optimizer(params, rule, **options)
            self._random = np.random.default_rng(self._seed())
            if not go_on or not hasattr(self, "history_"):  # coefficients may have been assigned
                self.history_, self.n_iter_ = History(), 0
        elif bound != self._bound:
            opt.rebind(params, rule=rule, **options)
        else:
            for name, p in params.items():
                if _arrays.is_immutable(p):
                    opt.params[name] = p
                else:
                    _arrays.write(opt.params[name], p)
        n = X.shape[0]
        size = min(self._batch_rows(n), n)
        arrays = (X, target) if weights is None else (X, target, weights)
        batches = Batches(*arrays, batch_size=size, shuffle=size < n, rng=self._random)
        total: Array = 0.0
        evaluate = Batchwise(model, params, aside=apart).value_and_gradient
        for value, batch in steps(partial(evaluate, opt.params), opt, batches):
            total = total + _arrays.detached(value) * (batch[0].shape[0] / n)
        self._optimizer, self._bound = opt, bound
        self.history_.add("loss", total)
        self.n_iter_ += 1
        self._take(opt.params)

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _batch_rows(self, default: int) -> int:
        given = self.batch_size
        return default if given is None else _checks.count("batch_size", given, 1)

    def _rule(self) -> Tree:
        if is_automatic(self.method):
            return rules.Adam(1e-2)
        rule = solvers.get(self.method)
        if isinstance(rule, solvers.Solver):
            msg = f"method: is {rule!r}, but partial_fit takes an update rule"
            raise TypeError(msg)
        return rule
