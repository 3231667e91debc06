"""Linear models: a loss of a linear prediction, as an objective with analytic gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import _arrays
from .._arrays import _checks, _sparse, is_sparse
from .._arrays._types import Array, Tree
from ..losses import Gamma, KLDivergence, Loss, Poisson, SoftmaxCrossEntropy
from ..penalties import Penalty
from ._curvature import second_derivatives


@dataclass(frozen=True)
class LinearModel:
    r"""A loss of the linear prediction :math:`X w + b`, with a penalty on :math:`w`.

    .. math:: f(w, b) = L(X w + b, y) + P(w)

    Parameters
    ----------
    loss : Loss
        One of `fallline.losses`. ``SoftmaxCrossEntropy`` has one output for each class.
    penalty : Penalty, optional
        P; the intercept is not penalised. A smooth penalty is part of `value_and_gradient`; any
        other is left to the solver or rule, which finds it as `beside`.
    fit_intercept : bool, default True
        Whether there is a :math:`b`.
    n_outputs : int, optional
        Number of columns of :math:`w`. By default as many as `y` has, or as there are classes; for
        other targets :math:`w` is a vector.

    Notes
    -----
    Parameters are a dict of ``"weights"``, of shape (features,) or (features, outputs), and
    ``"intercept"``, of shape () or (outputs,), if there is one. X is a dense array of any library,
    or a sparse matrix of scipy.sparse or cupyx.scipy.sparse with rows (CSR), whose parameters are
    NumPy's or CuPy's. X may be complex where the loss is of complex predictions (`SquaredError`,
    `AmplitudeError`, `PoissonIntensity`): the gradient in the weights is :math:`X^H` times that in
    the predictions, dL/dRe + i dL/dIm, and its real part for weights that are real.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> X, y = np.asarray([[0.0], [1.0], [2.0]]), np.asarray([1.0, 3.0, 5.0])
    >>> model = fl.LinearModel(fl.losses.SquaredError())
    >>> res = fl.fit(model, (X, y), method="lbfgs")
    >>> res.predict(np.asarray([[10.0]])).round(3)
    array([21.])
    """

    loss: Any
    penalty: Penalty | None = None
    fit_intercept: bool = True
    n_outputs: int | None = None

    def __post_init__(self) -> None:
        """Check the parts."""
        if not isinstance(self.loss, Loss):
            msg = f"loss: is {self.loss!r}, expected a loss of fallline.losses"
            raise TypeError(msg)
        if self.penalty is not None and not hasattr(self.penalty, "prox"):
            msg = f"penalty: is {self.penalty!r}, expected a penalty"
            raise TypeError(msg)

    @property
    def beside(self) -> Array:
        """The penalty that `value_and_gradient` leaves out, as a tree like the parameters."""
        rest = None if self.penalty is None or self.penalty.smooth else self.penalty
        return {"weights": rest, **({"intercept": None} if self.fit_intercept else {})}

    def initialize(self, X: Array, y: Array) -> dict[str, Array]:
        """Return parameters of zeros.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data: library, device and dtype are taken from it.
        y : array, shape (n,) or (n, outputs)
            The targets; for integer classes the largest determines the number of outputs, which
            synchronises with the device.

        Returns
        -------
        dict of arrays
            The parameters.
        """
        like = dense_like(X)
        if X.ndim != 2:
            raise ValueError(_checks.mismatch("X", "number of axes", X.ndim, 2))
        if _arrays.is_complex(like) and not self.loss.complex_pred:
            raise self._unfit("X", like)
        outputs = self.n_outputs
        if outputs is None and y.ndim == 2:
            outputs = int(y.shape[1])
        elif outputs is None and isinstance(self.loss, SoftmaxCrossEntropy | KLDivergence):
            xp = _arrays.namespace(y)
            outputs = int(_arrays.to_float(xp.max(y))) + 1
        dtype = like.dtype
        shape = (int(X.shape[1]), *(() if outputs is None else (outputs,)))
        params = {"weights": _arrays.full(like, 0.0, dtype, shape=shape)}
        if self.fit_intercept:
            params["intercept"] = _arrays.full(like, 0.0, dtype, shape=shape[1:])
        return params

    def decision(self, params: dict[str, Array], X: Array) -> Array:
        """Return the linear prediction.

        Parameters
        ----------
        params : dict of arrays
            The parameters.
        X : array or sparse matrix, shape (n, features)
            The data.

        Returns
        -------
        array
            Of shape (n,) or (n, outputs).
        """
        _sparse.check("X", X)
        z = X @ params["weights"]
        return z + params["intercept"] if self.fit_intercept else z

    def predict(self, params: dict[str, Array], X: Array) -> Array:
        """Return the linear prediction, or its exponential, the mean, for Poisson and Gamma.

        For cross-entropies these are logits: a positive one is class 1, the largest of several is
        its class, and a sigmoid or softmax makes probabilities of them. For hinges the sign is the
        class; for the other losses it has the scale of the targets. Parameters and result as in
        `decision`.
        """
        z = self.decision(params, X)
        return _arrays.namespace(z).exp(z) if isinstance(self.loss, Poisson | Gamma) else z

    def value_and_gradient(
        self, params: dict[str, Array], X: Array, y: Array, weights: Array = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss with the smooth penalty, and its gradient.

        Parameters
        ----------
        params : dict of arrays
            The parameters.
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array
            The targets.
        weights : array, shape (n,), optional
            Of the rows.

        Returns
        -------
        value : array
            0-d.
        gradient : dict of arrays
            Like `params`.
        """
        z, w = self.decision(params, X), params["weights"]
        if _arrays.is_complex(z) and not self.loss.complex_pred:
            complex_X = _arrays.is_complex(dense_like(X))
            raise self._unfit(*(("X", dense_like(X)) if complex_X else ("params['weights']", w)))
        value, slope = self.loss.value_and_gradient(z, y, weights)
        gradient = {"weights": _adjoint(X, slope, w)}
        if self.fit_intercept:
            xp = _arrays.namespace(slope)
            total = _arrays.unscalar(xp.sum(slope, axis=0))
            gradient["intercept"] = _real_as(total, params["intercept"])
        if self.penalty is not None and self.penalty.smooth:
            value = _arrays.unscalar(value + self.penalty.value(w))
            gradient["weights"] = gradient["weights"] + self.penalty.gradient(w)
        return value, gradient

    def hessian(self, params: dict[str, Array], X: Array, y: Array, weights: Array = None) -> Array:
        """Return the matrix of second derivatives, for Newton's method.

        Parameters
        ----------
        params, X, y, weights
            As in `value_and_gradient`; X is dense.

        Returns
        -------
        array, shape (features + 1, features + 1) or (features, features)
            The intercept comes first, if there is one.

        Raises
        ------
        TypeError
            If X is sparse, the loss has no `curvature`, there are several outputs, or the penalty
            is not an `L2`.
        """
        return second_derivatives(self, params, (X, y, weights))

    def _unfit(self, place: str, x: Array) -> TypeError:
        got, expected = _arrays.dtype_name(x), f"a real one for {type(self.loss).__name__}"
        return TypeError(_checks.mismatch(place, "dtype", got, expected))


def _adjoint(X: Array, slope: Array, w: Array) -> Array:
    # The conjugate transpose of X times the slope, without a conjugate copy of X.
    if not _arrays.is_complex(slope):
        return X.T @ slope
    xp = _arrays.namespace(slope)
    return _real_as(xp.conj(X.T @ xp.conj(slope)), w)


def _real_as(gradient: Array, p: Array) -> Array:
    # Real parameters of complex data have a real gradient.
    real = _arrays.is_complex(gradient) and not _arrays.is_complex(p)
    return _arrays.namespace(gradient).real(gradient) if real else gradient


def check_params(model: LinearModel, params: Tree, X: Array) -> None:
    """Check that parameters fit a model and its data."""
    names = ["weights", *(["intercept"] if model.fit_intercept else [])]
    if not isinstance(params, Mapping) or sorted(params) != sorted(names):
        got = sorted(map(str, params)) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(_checks.mismatch("params", "structure", got, f"a dict of {names}"))
    outputs = tuple(params["weights"].shape[1:])
    shapes = {"weights": (int(X.shape[1]), *outputs), "intercept": outputs}
    for name, x in params.items():
        place = _checks.where("params", (name,))
        _checks.same_kind(place, dense_like(X), x)
        if tuple(x.shape) != shapes[name]:
            raise ValueError(_checks.mismatch(place, "shape", tuple(x.shape), shapes[name]))


def dense_like(X: Array) -> Array:
    """Return an array of the library and dtype of X: itself, or the numbers of a sparse matrix."""
    return getattr(X, "data", X) if is_sparse(X) else X
