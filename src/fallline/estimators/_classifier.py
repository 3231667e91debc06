"""`LinearClassifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from .. import _arrays, losses
from .._arrays._types import Array
from ..losses import Loss
from ..objectives._linear_model import dense_like
from . import _probabilities
from ._base import LinearEstimator
from ._input import beside, class_factors
from ._losses import classification


@dataclass(eq=False, repr=False)
class LinearClassifier(ClassifierMixin, LinearEstimator):  # type: ignore[misc]
    r"""Linear classification by any solver or update rule.

    .. math:: \min_{w, b} \frac{\sum_i s_i\, l(x_i w + b, y_i)}{\sum_i s_i} + P(w)

    Parameters
    ----------
    loss : str or Loss, default "log_loss"
        ``"log_loss"`` (logistic regression: the binary cross-entropy, or that of a softmax for
        more than two classes), ``"hinge"``, ``"squared_hinge"``, ``"modified_huber"``; the last
        three with one problem for each of more than two classes, against the rest. Or the loss
        itself.
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
    class_weight : dict, "balanced" or None
        Factors of the rows' weights by class; ``"balanced"`` gives all classes the same sum.
    early_stopping : bool, default False
        Hold a part of the rows out, stop when the loss there does not fall, and take the best.
    validation_fraction : float, default 0.1
        That part, in (0, 1), of each class.
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
    classes_ : array, shape (classes,)
        The labels, in order.
    coef_ : array, shape (1, features) or (classes, features)
        w, in the namespace, dtype and on the device of X; one row for two classes.
    intercept_ : array, shape (1,) or (classes,)
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

    ``"newton"`` takes dense X, no or an L2 penalty and two classes with log_loss. ``"auto"`` is it
    there, with at least twice as many rows as features, if rows times features squared is at most
    2e6.

    The hinge loss is rounded at its kink for ``"auto"``, by less and less: the least objective is
    missed by 1.3e-5 or a fraction of 1e-5 by that, at most. Another method meets the loss as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from fallline.estimators import LinearClassifier
    >>> X = np.asarray([[0.0], [1.0], [2.0], [3.0]])
    >>> model = LinearClassifier().fit(X, ["low", "low", "high", "high"])
    >>> model.predict(X)
    array(['low', 'low', 'high', 'high'], dtype='<U4')
    """

    loss: str | Loss = "log_loss"
    _: KW_ONLY
    class_weight: Mapping[Any, float] | str | None = None

    def fit(self, X: Array, y: Array, sample_weight: Array = None) -> LinearClassifier:
        """Fit to data.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array, shape (n,)
            The labels: numbers, or NumPy's text.
        sample_weight : array, shape (n,), optional
            Of the rows; integers count like repeated rows.

        Returns
        -------
        LinearClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, if there is only one class, or if the loss becomes infinite
            or NaN.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` ended the run, no step lowered the loss, or a rule took it up; and if
            a solver separates classes without a penalty, as there is no least log_loss then.
        """
        loss = classification(self.loss)
        X, y, weights = self._checked(X, y, sample_weight, reset=True, numeric=False)
        check_classification_targets(y)
        classes, codes = _arrays.namespace(y).unique_inverse(y)
        if classes.shape[0] < 2:
            msg = (
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {_arrays.to_numpy(classes)[0]!r}"
            )
            raise ValueError(msg)
        self.classes_ = classes
        codes = beside(codes, dense_like(X))
        weights = self._weighted(X, codes, weights, balance=True)
        strata = _arrays.to_numpy(codes) if self.early_stopping else None
        target, loss, outputs = self._problem(loss, X, codes)
        self._train(X, target, weights, loss, outputs, strata)
        return self

    def partial_fit(
        self, X: Array, y: Array, classes: Array = None, sample_weight: Array = None
    ) -> LinearClassifier:
        """Go through some rows once by the rule, whose state is kept between calls.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.
        y : array, shape (n,)
            The labels.
        classes : array, shape (classes,), optional
            All labels there will be; needed for the first call.
        sample_weight : array, shape (n,), optional
            Factors of the rows' losses.

        Returns
        -------
        LinearClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; if the method is a solver. ``"auto"`` is ``Adam(1e-2)``.
        """
        loss = classification(self.loss)
        reset = not hasattr(self, "coef_")
        if reset and classes is None:
            msg = "classes must be passed on the first call to partial_fit."
            raise ValueError(msg)
        if isinstance(self.class_weight, str):
            msg = (
                f"class_weight {self.class_weight!r} is not supported for partial_fit, which sees "
                "some rows only; pass the weights as a dict"
            )
            raise ValueError(msg)
        X, y, weights = self._checked(X, y, sample_weight, reset=reset, numeric=False)
        check_classification_targets(y)
        like = dense_like(X)
        if classes is not None:
            labels = beside(unique_labels(classes), like)
            if reset:
                self.classes_ = labels
            elif not np.array_equal(_arrays.to_numpy(labels), _arrays.to_numpy(self.classes_)):
                msg = (
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{self.classes_!r}"
                )
                raise ValueError(msg)
        xp = _arrays.namespace(self.classes_)
        last = self.classes_.shape[0] - 1
        codes = xp.searchsorted(self.classes_, y)
        codes = xp.where(codes > last, last, codes)
        if not _arrays.to_numpy(xp.all(xp.take(self.classes_, codes, axis=0) == y)):
            msg = f"y: has labels that are not in classes, {self.classes_!r}"
            raise ValueError(msg)
        codes = beside(codes, like)
        weights = self._weighted(X, codes, weights, balance=False)
        target, loss, outputs = self._problem(loss, X, codes)
        self._go_on(X, target, weights, loss, outputs)
        return self

    def decision_function(self, X: Array) -> Array:
        """Return the linear predictions.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data, of the library and on the device of those of `fit`.

        Returns
        -------
        array, shape (n,) or (n, classes)
            Positive for the second of two classes; largest for the most likely of more.
        """
        return self._decision(X, "decision_function")

    def predict(self, X: Array) -> Array:
        """Return the labels.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data, of the library and on the device of those of `fit`.

        Returns
        -------
        array, shape (n,)
            Elements of `classes_`.
        """
        z = self._decision(X, "predict")
        xp = _arrays.namespace(z)
        codes = xp.astype(z > 0, xp.int64) if z.ndim == 1 else xp.argmax(z, axis=1)
        if _arrays.namespace(self.classes_) is not xp:  # text
            return self.classes_[_arrays.to_numpy(codes)]
        return xp.take(self.classes_, codes, axis=0)

    @available_if(_probabilities.available)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Array) -> Array:
        """Return the probabilities of the classes; for log_loss and modified_huber only.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data.

        Returns
        -------
        array, shape (n, classes)
            Their sum is 1. Those of modified_huber are scikit-learn's: (clip(z, -1, 1) + 1) / 2,
            divided by their sum for more than two classes; equal where all are 0.
        """
        return _probabilities.of(classification(self.loss), self._decision(X, "predict_proba"))

    @available_if(_probabilities.available)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Array) -> Array:
        """Return the logarithms of what `predict_proba` returns.

        Those of log_loss stay finite where a probability is too small for a number.

        Parameters
        ----------
        X : array or sparse matrix, shape (n, features)
            The data, of the library and on the device of those of `fit`.

        Returns
        -------
        array, shape (n, classes)
            The logarithms.
        """
        return _probabilities.logarithms(
            classification(self.loss), self._decision(X, "predict_log_proba")
        )

    def _weighted(self, X: Array, codes: Array, weights: Array, *, balance: bool) -> Array:
        # The weights of the rows, those of their classes included.
        if self.class_weight is None:
            return weights
        like, labels = dense_like(X), _arrays.to_numpy(self.classes_)
        rows = (codes, weights) if balance else None
        factors = class_factors(self.class_weight, labels, rows)
        factors = _arrays.from_numpy(factors.astype(_arrays.dtype_name(like)), like)
        factors = _arrays.namespace(like).take(factors, codes, axis=0)
        return factors if weights is None else weights * factors

    def _problem(self, loss: Loss, X: Array, codes: Array) -> tuple[Array, Loss, int | None]:
        # Targets, loss and the number of outputs.
        like = dense_like(X)
        xp = _arrays.namespace(like)
        classes = self.classes_.shape[0]
        logistic = isinstance(loss, losses.BinaryCrossEntropy)
        if classes == 2:
            target = xp.astype(codes, like.dtype)
            return target if logistic else 2 * target - 1, loss, None
        if logistic:
            return codes, losses.SoftmaxCrossEntropy(), classes
        own = codes[:, None] == _arrays.arange(classes, codes)
        return 2 * xp.astype(own, like.dtype) - 1, loss, classes

    def _take(self, params: dict[str, Array]) -> None:
        super()._take(params)
        xp = _arrays.namespace(self.coef_)
        if self.coef_.ndim == 1:
            self.coef_ = self.coef_[None, :]
        if not _arrays.is_array(self.intercept_):
            n = self.coef_.shape[0]
            self.intercept_ = _arrays.full(self.coef_, 0.0, self.coef_.dtype, shape=(n,))
        else:
            self.intercept_ = xp.reshape(self.intercept_, (-1,))
