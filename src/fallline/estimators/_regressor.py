"""`LinearRegressor`."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.base import RegressorMixin
from sklearn.metrics import d2_tweedie_score
from sklearn.utils import Tags

from .. import _arrays, losses
from .._arrays._types import Array
from ..losses import Domain, Loss
from . import _input
from ._base import LinearEstimator
from ._losses import found

LOSSES: dict[str, type[Loss]] = {
    "squared_error": losses.SquaredError,
    "absolute_error": losses.AbsoluteError,
    "huber": losses.Huber,
    "quantile": losses.Quantile,
    "poisson": losses.Poisson,
    "gamma": losses.Gamma,
}
LOGARITHMIC = (losses.Poisson, losses.Gamma)


@dataclass(eq=False, repr=False)
class LinearRegressor(RegressorMixin, LinearEstimator):  # type: ignore[misc]
    r"""Linear and log-linear regression by any solver or update rule.

    .. math:: \min_{w, b} \frac{\sum_i s_i\, l(x_i w + b, y_i)}{\sum_i s_i} + P(w)

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"quantile"`` (the median),
        ``"poisson"``, ``"gamma"``, or the loss itself, such as ``fl.losses.Quantile(0.9)``.
        Poisson and gamma predict the exponential of the linear prediction.
    penalty : {"l2", "l1", "elasticnet"}, Penalty or None, default "l2"
        P: ``alpha / 2 ||w||**2``, ``alpha ||w||_1``, or ``fl.ElasticNet(alpha, l1_ratio)``; the
        intercept is not penalised.
    alpha : float, default 3e-3
        Weight of a penalty given by name.
    l1_ratio : float, default 0.5
        Share of L1 in the elastic net, in [0, 1].
    fit_intercept : bool, default True
        Whether there is a b.
    positive : bool, default False
        Whether no coefficient may be negative.
    method : str, Solver, or Rule, default "auto"
        A solver takes all data as one, a rule goes through mini-batches. ``"auto"`` is L-BFGS,
        or Newton's method for small problems; OWL-QN with L1, FISTA with other penalties that are
        not smooth; if `positive`, L-BFGS-B and FISTA. See Notes.
    batch_size : int, optional
        Rows of a rule's mini-batch; by default 256, and all for `partial_fit`.
    max_iter : int, default 1000
        Iterations of a solver, epochs of a rule.
    tol : float, optional
        Default 1e-4. For a solver the relative error of the coefficients, as far as the gradient
        tells of it, whatever the units of X and y; see Notes. For a rule, and for early stopping,
        what counts as a better loss, as a fraction of the loss without any feature. With `None` a
        solver has its own conditions, and a rule makes `max_iter` epochs.
    early_stopping : bool, default False
        Hold a part of the rows out, stop when the loss there does not fall, and take the best.
    validation_fraction : float, default 0.1
        That part, in (0, 1).
    n_iter_no_change : int, default 5
        Epochs or iterations to wait for a better loss.
    warm_start : bool, default False
        Whether `fit` begins where the last one ended.
    random_state : int, RandomState or None
        For the order of the rows and the rows held out.
    verbose : int, default 0
        Print the loss after every so many epochs, or iterations of a solver.

    Attributes
    ----------
    coef_ : array, shape (features,)
        w, in the namespace, dtype and on the device of X.
    intercept_ : float or 0-d array
        b.
    n_iter_ : int
        Iterations or epochs made.
    history_ : mapping
        Numbers of each of them by name: ``"loss"``, ``"validation_loss"``, ...
    n_features_in_ : int
        Features seen by `fit`.
    feature_names_in_ : array of str
        Their names, if X had any.

    Notes
    -----
    X is dense (NumPy's; with scikit-learn's ``array_api_dispatch`` also CuPy's, torch's, ...) or
    sparse by rows; float32 stays so.

    A solver is given columns of mean zero (where there is an intercept) and mean square 1, which
    changes neither the minimum nor the coefficients. It ends where no element of the gradient is
    larger than `tol` / 10 times the standard deviation of the slopes of the rows' losses without
    any feature, or than the precision of the numbers allows. The kinks below end at `tol`.

    ``"newton"`` takes dense X, no or an L2 penalty and squared error, Huber, Poisson or gamma
    losses. ``"auto"`` chooses it, but for Huber's, with at least twice as many rows as features, if
    rows times features squared is at most 2e6.

    Losses that are not smooth (absolute error, quantiles) are rounded at their kink for ``"auto"``,
    by less and less: the least objective is missed by a fraction of 1e-5 by that, at most. Another
    method meets the loss as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from fallline.estimators import LinearRegressor
    >>> X = np.asarray([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> y = np.asarray([1.0, 3.0, 50.0, 7.0, 9.0])
    >>> model = LinearRegressor("absolute_error", penalty=None).fit(X, y)
    >>> model.predict(X).round(1)
    array([1., 3., 5., 7., 9.])
    """

    loss: str | Loss = "squared_error"

    def __sklearn_tags__(self) -> Tags:
        """Return what scikit-learn may expect."""
        tags = super().__sklearn_tags__()
        kind = LOSSES.get(self.loss) if isinstance(self.loss, str) else type(self.loss)
        tags.target_tags.positive_only = kind in LOGARITHMIC
        return tags

    def fit(self, X: Array, y: Array, sample_weight: Array = None) -> LinearRegressor:
        """Fit to data.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array, shape (n,)
            The targets.
        sample_weight : array, shape (n,), optional
            Of the rows; integers count like repeated rows.

        Returns
        -------
        LinearRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or the loss becomes infinite or NaN.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` ended the run, no step lowered the loss, or a rule took it up.
        """
        loss = found(self.loss, LOSSES)
        X, y, weights = self._checked(X, y, sample_weight, reset=True, numeric=True)
        self._train(X, self._target(loss, X, y), weights, loss, None, None)
        return self

    def partial_fit(self, X: Array, y: Array, sample_weight: Array = None) -> LinearRegressor:
        """Go through some rows once by the rule, whose state is kept between calls.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array, shape (n,)
            The targets.
        sample_weight : array, shape (n,), optional
            Factors of the rows' losses.

        Returns
        -------
        LinearRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; if the method is a solver. ``"auto"`` is ``Adam(1e-2)``.
        """
        loss = found(self.loss, LOSSES)
        reset = not hasattr(self, "coef_")
        X, y, weights = self._checked(X, y, sample_weight, reset=reset, numeric=True)
        self._go_on(X, self._target(loss, X, y), weights, loss, None)
        return self

    def predict(self, X: Array) -> Array:
        """Return the expected targets.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data, of the library and on the device of those of `fit`.

        Returns
        -------
        array, shape (n,)
            The linear prediction, or its exponential for Poisson and gamma.
        """
        z = self._decision(X, "predict")
        logarithmic = isinstance(found(self.loss, LOSSES), LOGARITHMIC)
        return _arrays.namespace(z).exp(z) if logarithmic else z

    def score(self, X: Array, y: Array, sample_weight: Array = None) -> float:
        """Return the part of the variation of y that the predictions explain.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array, shape (n,)
            The targets.
        sample_weight : array, shape (n,), optional
            Of the rows.

        Returns
        -------
        float
            R2, of the squared errors; for Poisson and gamma D2, of the loss's deviance, as
            scikit-learn's models of these losses give. At best 1; 0 for the mean of y.
        """
        power = {losses.Poisson: 1, losses.Gamma: 2}.get(type(found(self.loss, LOSSES)))
        if power is None:
            return float(super().score(X, y, sample_weight))
        _input.refuse("y", y)
        pred = self.predict(X)
        return float(d2_tweedie_score(y, pred, sample_weight=sample_weight, power=power))

    def _target(self, loss: Loss, X: Array, y: Array) -> Array:
        like = X.data if _arrays.is_sparse(X) else X
        y = _arrays.cast(y, like)
        if loss.domain != Domain() and not loss.domain.holds(_arrays.to_numpy(y)).all():
            msg = (
                "Some value(s) of y are out of the valid range of the loss "
                f"{type(loss).__name__!r}: {loss.domain}"
            )
            raise ValueError(msg)
        return y

    def _guess(self, params: dict[str, Array], target: Array, weights: Array) -> dict[str, Array]:
        # The intercept alone: the mean, or its logarithm.
        if "intercept" in params:
            xp = _arrays.namespace(target)
            mean = xp.mean(target)
            if weights is not None:
                mean = xp.sum(weights * target) / xp.sum(weights)
            if isinstance(found(self.loss, LOSSES), LOGARITHMIC):
                mean = xp.log(xp.where(mean > 0, mean, xp.ones_like(mean)))
            params["intercept"] = _arrays.cast(mean, target)
        return params

    def _best(self, pred: Array, target: Array) -> Array:
        if not isinstance(found(self.loss, LOSSES), LOGARITHMIC):
            return None
        xp, least = _arrays.namespace(target), _arrays.full(target, 1e-30, target.dtype)
        return xp.log(xp.maximum(target, least))

    def _dense(self) -> Array:
        coef = super()._dense()
        return coef[0, :] if coef.ndim == 2 else coef

    def _take(self, params: dict[str, Array]) -> None:
        super()._take(params)
        if _arrays.is_array(self.intercept_) and _arrays.on_host(self.intercept_):
            self.intercept_ = self.intercept_[()]  # a scalar, as in scikit-learn
