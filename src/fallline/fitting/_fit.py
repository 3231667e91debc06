"""`fit`: a whole training job in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _arrays, callbacks, solvers
from .. import stop as conditions
from .._arrays import _checks, _sparse
from .._arrays._sparse import is_sparse
from ..data import Batches
from ..objectives._linear_model import LinearModel, check_params, dense_like
from ..penalties import L1, ElasticNet
from ..solvers import Solver
from ..solvers._minimize import minimize
from ._run import InterruptedRunError, Run, StoppedError
from ._run_record import RunRecord, described


class FitResult(dict[str, Any]):
    """What `fit` found; entries are attributes too.

    Attributes
    ----------
    params : tree
        The last parameters; the best ones if the run was interrupted or met numbers that are not
        finite.
    success : bool
        Whether the run ended as asked for.
    status : int
        0 as asked for or converged, 1 a limit, 2 no progress, 3 not finite, 98 interrupted, 99 a
        callback.
    message : str
        Why the run ended.
    epochs, steps : int
        How many were made; iterations and evaluations, with a solver.
    loss : float
        The mean loss over the last epoch, or the last value of a solver.
    seconds : float
        Wall time.
    history : History
        Numbers by name: ``"loss"``, ``"validation_loss"``, ``"seconds"``, ``"step_loss"``.
    record : RunRecord
        What ran, on what, and how it went; ``record.save("run.json")``.
    """

    def __getattr__(self, name: str) -> Any:
        """Return an entry."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        """Return one line for each entry."""
        shown = {name: x for name, x in self.items() if name not in ("objective", "record")}
        width = max(map(len, shown))
        indent = "\n" + " " * (width + 2)
        return "\n".join(
            f"{k:>{width}}: {str(v).replace(chr(10), indent)}" for k, v in shown.items()
        )

    def __dir__(self) -> list[str]:
        """Return the names of the entries."""
        return [*self, "predict"]

    def predict(self, X: Any) -> Any:
        """Return the predictions of the objective with these parameters.

        Parameters
        ----------
        X : array
            Data, as the objective's `predict` takes it.

        Returns
        -------
        array
            The predictions.

        Raises
        ------
        TypeError
            If the objective has no `predict`.
        """
        if not hasattr(self["objective"], "predict"):
            msg = f"{self['objective']!r} has no predict"
            raise TypeError(msg)
        return self["objective"].predict(self["params"], X)


def fit(
    objective: Any,
    data: Any,
    *,
    method: Any = "auto",
    params: Any = None,
    weights: Any = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    rng: int | np.random.Generator | None = None,
    validation: Any = None,
    penalty: Any = None,
    constraint: Any = None,
    stop: conditions.Condition | None = None,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    nonfinite: str = "stop",
    resume: Any = None,
    engine: str = "auto",
) -> FitResult:
    """Fit the parameters of an objective to data.

    Parameters
    ----------
    objective : object or callable
        A `LinearModel`, anything with ``value_and_gradient(params, *batch, weights=None)``, or a
        function ``fun(params, *batch)`` that returns both.
    data : tuple of arrays, or iterable of tuples
        ``(X, y)``, or as many arrays of equal length as the objective takes; or batches of any
        origin, one tuple each, gone through once for each epoch (memory maps, generators of data
        larger than memory; an iterator serves one epoch). A mini-batch of NumPy's arrays is
        overwritten by the next; the objective must not keep it.
    method : str, Rule, tree of rules, or Solver, default "auto"
        A rule goes through mini-batches, a solver takes all data as one. ``"auto"`` is L-BFGS, or
        OWL-QN with an L1 penalty, FISTA with others that are not smooth.
    params : tree of arrays, optional
        Where to start; not needed if the objective has `initialize`. A rule does not write them.
    weights : array, optional
        Of the rows; integers count like repeated rows. A mini-batch is averaged with its own
        weights, whatever their sum.
    batch_size : int, optional
        Rows of a batch for a rule; by default all.
    epochs : int, optional
        For a rule, passes over the data, by default 10; for a solver, iterations, by default 15000.
    rng : int or numpy.random.Generator, optional
        Where the order of the rows comes from.
    validation : tuple of arrays, optional
        Data whose loss is taken after each epoch, as ``history["validation_loss"]``: the
        objective's value, with a penalty that is part of it.
    penalty, constraint : trees, optional
        As in `minimize` and `Optimizer`; a penalty that is part of the objective is not given here.
    stop : Condition, optional
        From `fallline.stop`; for a rule it looks at each epoch, whose loss is the value, and the
        gradient's norm is not known.
    callbacks : sequence of functions and Callbacks
        See `fallline.callbacks`.
    progress : bool, default False
        Show a bar, by tqdm.
    nonfinite : {"stop", "skip", "raise", "propagate"}
        A loss that is not finite: end with the best parameters so far; leave out such steps; raise
        FloatingPointError; or go on.
    resume : str or path, optional
        A file of ``callbacks.Checkpoint`` of a run with the same arguments, which goes on.
    engine : str, default "auto"
        How a rule is run, as in `Optimizer`; all give the same bits. With Numba, mini-batches of
        NumPy's arrays go through a `LinearModel` and the rule without the interpreter.

    Returns
    -------
    FitResult
        Parameters, history, and why it ended. Ctrl-C ends a run with the best parameters so far.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 3))
    >>> y = X @ np.asarray([1.0, -2.0, 0.5])
    >>> model = fl.LinearModel(fl.losses.SquaredError())
    >>> res = fl.fit(model, (X, y), method=fl.Adam(0.05), batch_size=20, epochs=50, rng=0)
    >>> res.params["weights"].round(2)
    array([ 1. , -2. ,  0.5])
    """
    evaluate = _evaluator(objective)
    arrays, batches = _batches(data, weights, batch_size, rng)
    if validation is not None:
        _check_validation(validation, arrays)
    if params is None:
        if not hasattr(objective, "initialize") or arrays is None:
            msg = "params: are needed, since the objective cannot initialize them from this data"
            raise TypeError(msg)
        params = objective.initialize(*arrays[:2])
    elif isinstance(objective, LinearModel) and arrays is not None:
        check_params(objective, params, arrays[0])
    if penalty is None:
        penalty = getattr(objective, "beside", None)
    method = _method(method, penalty, constraint)
    if nonfinite not in ("stop", "skip", "raise", "propagate"):
        known = ("stop", "skip", "raise", "propagate")
        raise _checks.unknown_name("nonfinite", str(nonfinite), known)
    hooks = _hooks(callbacks, progress)
    weighted = weights is not None
    run = Run(evaluate, params, hooks, validation=validation, weighted=weighted)
    what = described(objective, method, penalty, constraint, stop, data, rng, batch_size)
    start = time.perf_counter()
    try:
        if isinstance(method, Solver):
            if arrays is None or batch_size is not None or resume is not None:
                msg = "method: a solver takes all data as one batch, and does not resume"
                raise ValueError(msg)
            if engine != "auto":
                msg = f"engine: is {engine!r}, which is for rules, and the method is a solver"
                raise ValueError(msg)
            _solve(run, method, arrays, epochs, penalty, constraint, stop)
        else:
            run.train(
                method,
                batches,
                10 if epochs is None else _checks.count("epochs", epochs),
                penalty=penalty,
                constraint=constraint,
                stop=stop,
                nonfinite=nonfinite,
                resume=resume,
                engine=engine,
                objective=objective,
            )
    except StoppedError:
        pass
    except (KeyboardInterrupt, InterruptedRunError):
        run.end("interrupted; these are the best parameters so far", status=98, best=True)
    finally:
        for hook in hooks:
            hook.on_end(run)
    seconds = time.perf_counter() - start
    record = RunRecord.of(what, run, seconds)
    return FitResult(
        message=run.message, success=run.success, status=run.status, params=run.params,
        loss=run.history.last("loss") if "loss" in run.history else math.nan, epochs=run.epoch,
        steps=run.step, seconds=seconds, history=run.history, record=record, objective=objective,
    )  # fmt: skip


def _evaluator(objective: Any) -> Callable[..., Any]:
    if hasattr(objective, "value_and_gradient"):
        method: Callable[..., Any] = objective.value_and_gradient
        return method
    if callable(objective) and not isinstance(objective, type):

        def evaluate(params: Any, *batch: Any, weights: Any = None) -> Any:
            if weights is not None:
                msg = "weights: a plain function takes none; pass them as one more array of data"
                raise TypeError(msg)
            return objective(params, *batch)

        return evaluate
    msg = f"objective: is {objective!r}, expected a function or value_and_gradient"
    raise TypeError(msg)


def _batches(data: Any, weights: Any, size: int | None, rng: Any) -> tuple[Any, Any]:
    # The arrays, or None for a stream; and what gives the batches of an epoch.
    if isinstance(data, tuple):
        if not data:
            msg = "data: is an empty tuple"
            raise ValueError(msg)
        arrays = data if weights is None else (*data, weights)
        names = [f"data[{i}]" for i in range(len(data))]
        _check_rows([*names, "weights"][: len(arrays)], arrays)
        for place, x in zip(names, data, strict=True):
            if is_sparse(x):
                _sparse.check_rows(place, x)
        n = arrays[0].shape[0]
        whole = size is None or size >= n
        batches = Batches(
            *arrays, batch_size=max(n, 1) if size is None else size, shuffle=not whole, rng=rng
        )
        return arrays, batches
    if weights is not None or size is not None:
        msg = "weights and batch_size: are for arrays; batches bring their own"
        raise ValueError(msg)
    if not hasattr(data, "__iter__"):
        msg = f"data: is a {type(data).__name__}, expected a tuple of arrays or batches"
        raise TypeError(msg)
    return None, data


def _check_rows(names: Sequence[str], arrays: Sequence[Any], like: Any = None) -> None:
    # Check that these are arrays of rows, as many, of one library and on one device: that of the
    # first, or of `like`.
    for place, x in zip(names, arrays, strict=True):
        if not (_arrays.is_array(x) or is_sparse(x)):
            msg = f"{place}: is a {type(x).__name__}, expected an array"
            raise TypeError(msg)
        _sparse.check(place, x)
    first = arrays[0]
    if like is not None:
        _checks.same_kind(names[0], dense_like(like), dense_like(first))
    for place, x in zip(names, arrays, strict=True):
        if x.ndim == 0:
            msg = f"{place}: is 0-d, expected an array of rows"
            raise ValueError(msg)
        if x.shape[0] != first.shape[0]:
            raise ValueError(_checks.mismatch(place, "length", x.shape[0], first.shape[0]))
        _checks.same_kind(place, dense_like(first), dense_like(x))


def _check_validation(validation: Any, arrays: Any) -> None:
    if not isinstance(validation, tuple) or not validation:
        msg = f"validation: is a {type(validation).__name__}, expected a tuple of arrays"
        raise TypeError(msg)
    names = [f"validation[{i}]" for i in range(len(validation))]
    _check_rows(names, validation, None if arrays is None else arrays[0])


def _method(method: Any, penalty: Any, constraint: Any) -> Any:
    if not (isinstance(method, str) and method == "auto"):
        return solvers.get(method)
    leaves = [p for p in _penalties(penalty) if not p.smooth]
    if constraint is not None or any(not isinstance(p, L1 | ElasticNet) for p in leaves):
        return solvers.get("fista")
    return solvers.get("owlqn" if leaves else "lbfgs")


def _penalties(tree: Any) -> list[Any]:
    if hasattr(tree, "prox"):
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree
    values = values if isinstance(values, list | tuple) or isinstance(tree, dict) else ()
    return [p for value in values for p in _penalties(value)]


def _hooks(given: Sequence[Any], progress: bool) -> list[Any]:
    return callbacks.made([*given, *([callbacks.Progress()] if progress else [])])


def _solve(
    run: Run, method: Solver, arrays: Any, iterations: int | None, penalty: Any, constraint: Any,
    condition: Any,
) -> None:  # fmt: skip
    def fun(x: Any) -> Any:
        return run.evaluated(x, arrays)

    run.epochs = iterations
    run.begin()
    found = minimize(
        fun, run.params, method=method, penalty=penalty, constraint=constraint, stop=condition,
        max_iterations=iterations, callback=run.look, record=(),
    )  # fmt: skip
    run.params, run.step = found.x, found.nfev
    run.end(found.message, status=found.status, success=found.success, best=False)
