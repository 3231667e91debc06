"""`fit`: a whole training job in one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from .. import _arrays, solvers
from .._arrays import _checks
from .._arrays._results import Result
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Method, Number, RunView, Tree
from ..callbacks import Callback, Checkpoint, Progress, made
from ..objectives._linear_model import LinearModel, check_params
from ..penalties import L1, ElasticNet
from ..solvers import Newton, Solver
from ..solvers._minimize import check_condition
from ..stop import Condition
from . import _inputs, _objective, _resuming
from ._epochs import EpochRun
from ._history import History
from ._iterations import SolverRun
from ._run import InterruptedRunError, Job, StoppedError
from ._run_record import RunRecord, described

NONFINITE = ("stop", "skip", "raise", "propagate")


class FitResult(Result):
    """The result of `fit`; each entry is an attribute too.

    Attributes
    ----------
    params : tree
        The last parameters, or their average if one was asked for. If the run was interrupted, met
        numbers that are not finite, or ended above the loss of its first epoch, these are the best
        parameters of the run, or those it started from if none were better.
    success : bool
        Whether the run ended well: by a condition of `stop` that is no mere limit, or by a callback
        that called ``run.stop``.
    status : int
        0: converged, or stopped as asked; 1: a limit was reached; 2: no progress; 3: a number was
        not finite; 98: interrupted; 99: stopped by a callback.
    message : str
        Why the run ended.
    epochs, steps : int
        How many epochs and steps a rule has made; iterations and evaluations of a solver.
    loss : float
        The mean loss over the last epoch, or a solver's last value.
    seconds : float
        The wall time of the run.
    history : History
        Numbers by name: ``"loss"``, ``"validation_loss"``, ``"seconds"`` and ``"step_loss"``. A
        solver adds ``"gradient_norm"``, and a rule with `ClipByGlobalNorm` adds
        ``"step_gradient_norm"``, the norm in the last step made.
    record : RunRecord
        What ran, on which data, and how it went. ``record.save("run.json")`` writes it to a file.
    """

    params: Tree
    success: bool
    status: int
    message: str
    epochs: int
    steps: int
    loss: float
    seconds: float
    history: History
    record: RunRecord
    objective: object
    _hidden = ("objective", "record")

    def __dir__(self) -> list[str]:
        """Return the names of the entries."""
        return [*super().__dir__(), "predict"]

    def predict(self, X: Array) -> Tree:
        """Return the predictions of the objective with these parameters.

        Parameters
        ----------
        X : array
            Data, as the objective's `predict` takes it.

        Returns
        -------
        array
            The predictions. Those of a `LinearModel` are logits for cross-entropies, and the
            expected target for Poisson and Gamma losses; see its `predict`.

        Raises
        ------
        TypeError
            If the objective has no `predict`.
        """
        if not hasattr(self.objective, "predict"):
            msg = f"{self.objective!r} has no predict"
            raise TypeError(msg)
        return self.objective.predict(self.params, X)


def fit(
    objective: object,
    data: Tree,
    *,
    method: Method = "auto",
    params: Tree = None,
    weights: Array = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    rng: int | np.random.Generator | None = None,
    validation: Tree = None,
    gradients: Sequence[object] = (),
    penalty: Tree = None,
    constraint: Tree = None,
    master_weights: bool = False,
    rate_factors: Tree = None,
    decay_factors: Tree = None,
    average: Number = None,
    stop: Condition | None = None,
    callbacks: Sequence[Callback | Callable[[RunView], object]] = (),
    progress: bool = False,
    nonfinite: str = "stop",
    resume: FilePath | None = None,
    engine: str = "auto",
) -> FitResult:
    """Fit the parameters of an objective to data.

    Parameters
    ----------
    objective : object or callable
        A `LinearModel`, anything with ``value_and_gradient(params, *batch, weights=None)``, or a
        function ``fun(params, *batch)`` that returns both.
    data : tuple of arrays, or iterable of tuples
        ``(X, y)``, or as many arrays of equal length as the objective takes. Or an iterable of
        batches, each a tuple or a list, which is gone through once in each epoch: memory maps,
        generators of data larger than memory, torch's DataLoader. An iterator serves one epoch
        only. A list of bare arrays is taken as a tuple. A mini-batch of NumPy arrays is
        overwritten by the next one, so the objective must not keep it.
    method : str, Rule, tree of rules, or Solver, default "auto"
        A rule goes through mini-batches; a solver takes all data at once. ``"auto"`` is L-BFGS,
        OWL-QN with an L1 penalty, or FISTA with another penalty that is not smooth. ``"newton"``
        takes ``hessian(params, *batch, weights=None)`` of the objective, as `LinearModel` has.
    params : tree of arrays, optional
        Where to start; not needed if the objective has `initialize`. A rule does not write them.
    weights : array, optional
        Weights of the rows. With every method an integer weight counts like as many repeated rows.
        The objective returns the mean by the weights it is given. A mini-batch then counts by its
        mean weight over that of all rows, so that one without weight has a gradient of zero. The
        total weight of a stream is not known: a batch whose last entry is what the objective takes
        as ``weights`` is stepped by its own mean, and counts in the loss of the epoch by the sum
        of its weights.
    batch_size : int, optional
        The number of rows in a mini-batch, for a rule; by default all.
    epochs : int, optional
        The number of passes over the data for a rule, by default 10; the largest number of
        iterations for a solver, by default 15000.
    rng : int or numpy.random.Generator, optional
        The seed or generator from which the order of the rows is drawn.
    validation : tuple of arrays, optional
        Data on which the objective, with a penalty that is part of it, is evaluated after each
        epoch, as ``history["validation_loss"]``.
    gradients, master_weights, rate_factors, decay_factors : optional
        Passed on to the `Optimizer` of a rule.
    penalty, constraint : trees, optional
        As in `minimize` and `Optimizer`; a penalty that is part of the objective is not given
        again. The `L2` of a `LinearModel` acts on a rule by proximal steps, as in `Optimizer`, so
        that a large one does not diverge. It acts by its gradient where proximal steps would lead
        elsewhere: with rules whose step is a sign or not known, and beside a constraint that
        couples elements.
    average : float or schedule, optional
        For a rule, the decay of an `EMA` of the parameters. The average is then what is validated
        and returned.
    stop : Condition, optional
        A condition of `fallline.stop`. For a rule it is asked after each epoch, and the loss of
        the epoch is the value it sees.
    callbacks : sequence of functions and Callbacks
        See `fallline.callbacks`.
    progress : bool, default False
        Whether to show a progress bar, which needs tqdm.
    nonfinite : {"stop", "skip", "raise", "propagate"}
        What to do about a loss that is not finite: end with the best parameters so far, leave the
        step out, raise FloatingPointError, or go on.
    resume : str or path, optional
        A file that ``callbacks.Checkpoint`` wrote in a run with the same arguments. That run goes
        on bit for bit, with all that `stop`, the average and the callbacks remember. Data of
        another shape and another `batch_size` are refused. Other numbers in the data, the rule or
        the objective cause a warning, or an error with a solver, whose memory they would spoil.
    engine : str, default "auto"
        How a rule is run, as in `Optimizer`; all engines give the same bits. With Numba, steps of
        a `LinearModel` over mini-batches of NumPy arrays run compiled.

    Returns
    -------
    FitResult
        The parameters, the history, and why the run ended. Ctrl-C ends a run with the best
        parameters so far. A rule that has made all its epochs has reached a limit: its status
        is 1, and `success` is false.

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
    evaluate = _objective.evaluator(objective)
    arrays, batches = _inputs.batches_of(data, weights, batch_size, rng)
    if arrays is not None:
        _inputs.check_model(objective, ["data[0]"], arrays)
    if validation is not None:
        validation = _inputs.check_validation(objective, validation, arrays)
    params = _inputs.start_of(objective, params, arrays)
    if isinstance(objective, LinearModel) and arrays is not None:
        check_params(objective, params, arrays[0])
    mean_weight = None if weights is None else _objective.mean_weight(weights)
    penalty = _objective.beside(objective, penalty, params)
    method = method_of(method, penalty, constraint)
    if nonfinite not in NONFINITE:
        raise _checks.unknown_name("nonfinite", str(nonfinite), NONFINITE)
    hooks = made([*callbacks, *([Progress()] if progress else [])])
    _check_transforms(gradients)
    only_rules = {
        "gradients": gradients, "master_weights": master_weights,
        "rate_factors": rate_factors, "decay_factors": decay_factors, "engine": engine,
    }  # fmt: skip
    what = described(objective, method, penalty, constraint, stop, data, rng, batch_size)
    describe = partial(_resuming.described, batches, objective, params, penalty, constraint)
    job = Job(evaluate, params, hooks, validation, stop, describe)
    run: SolverRun | EpochRun
    if isinstance(method, Solver):
        _refuse(method, {**only_rules, "average": average})
        _check_solver(arrays, batch_size, hooks)
        assert arrays is not None
        rows = arrays if weights is None else arrays[:-1]
        around = {"penalty": penalty, "constraint": constraint}
        if isinstance(method, Newton):
            around["hessian"] = _objective.hessian(objective, rows, weights)
        run = SolverRun(job, method, rows, weights, around)
    else:
        _check_condition(stop)
        aside, penalty = _objective.aside(objective, method, penalty, constraint, params)
        batchwise = _objective.Batchwise(objective, params, mean_weight=mean_weight, aside=aside)
        options = {"penalty": penalty, "constraint": constraint, **only_rules}
        run = EpochRun(job, batchwise, batches, method, options, average, nonfinite)
    start = time.perf_counter()
    try:
        run.train(epochs, resume)
    except StoppedError:
        pass
    except (KeyboardInterrupt, InterruptedRunError):
        run.interrupted()
    finally:
        run.conclude()
    seconds = time.perf_counter() - start
    params = run.result()
    record = RunRecord.of(what, run, seconds)
    return FitResult(
        message=run.message, success=run.success, status=run.status, params=params,
        loss=run.history.last("loss"), epochs=run.epoch, steps=run.step, seconds=seconds,
        history=run.history, record=record, objective=objective,
    )  # fmt: skip


def _check_transforms(gradients: object) -> None:
    numbers = _arrays.is_array(gradients) or isinstance(gradients, Mapping)
    if numbers or callable(gradients):
        msg = (
            f"gradients: is {_checks.described(gradients)}, expected a sequence of transforms of "
            "fallline.gradients; the gradient itself is what the objective returns"
        )
        raise TypeError(msg)


def _refuse(method: Solver, given: Mapping[str, object]) -> None:
    # What a solver does not have.
    for name, x in given.items():
        idle = x is None or x is False or (isinstance(x, tuple | list) and not x)
        if not (idle or (isinstance(x, str) and x == "auto")):
            msg = f"{name}: is {x!r}, which is for rules, and the method is {method!r}, a solver"
            raise ValueError(msg)


def _check_solver(
    arrays: Sequence[Array] | None, batch_size: int | None, hooks: Sequence[Callback]
) -> None:
    if arrays is None or batch_size is not None:
        msg = "method: a solver takes all data as one batch, from arrays and without batch_size"
        raise ValueError(msg)
    for i, hook in enumerate(hooks):
        if isinstance(hook, Checkpoint) and hook.watches_steps:
            msg = f"callbacks[{i}]: Checkpoint watches the steps of a rule; of a solver every "
            raise ValueError(msg + "iteration is an epoch, and every= counts them")


def _check_condition(stop: Condition | None) -> None:
    check_condition(stop)
    for part in () if stop is None else stop._parts():
        if set(part._needs) - {"value"}:
            msg = f"stop: {part!r} looks at {' and '.join(part._needs)}, which an epoch of a rule "
            raise ValueError(msg + "does not tell; a condition on the loss fits")


def method_of(method: Method, penalty: Tree, constraint: Tree) -> Method:
    """Return a method itself, or that of a name; ``"auto"`` is a solver that fits the terms."""
    if not (isinstance(method, str) and method == "auto"):
        return solvers.get(method)
    leaves = Structure(penalty).flatten(penalty, "penalty")
    leaves = [p for p in leaves if hasattr(p, "prox") and not p.smooth]
    if constraint is not None or any(not isinstance(p, L1 | ElasticNet) for p in leaves):
        return solvers.get("fista")
    return solvers.get("owlqn" if leaves else "lbfgs")
