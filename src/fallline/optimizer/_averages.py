"""Averages of parameters over the steps of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .. import _arrays
from .._arrays import _checks, _files, _looks
from .._arrays._trees import Structure
from .._arrays._types import Array, FilePath, Json, Namespace, Number, Scalars, Tree
from ..rules import Hyperparameter, Rule, bias_correction, hyper
from . import _checkpoint, _saving
from ._optimizer import Optimizer

__all__ = ["EMA"]


class _Average(Rule):
    # The parameter is the average, the gradient what is averaged.

    decay: Hyperparameter = hyper(default=0.999, high=1.0, below=True)

    def scalars(self, t: Number) -> dict[str, Number]:
        return {"decay": self.decay, "new": 1 - self.decay}

    def formula(self, xp: Namespace, s: Scalars, p: Array, g: Array) -> tuple[Array, ...]:
        return (s.decay * p + s.new * g,)


class EMA:
    r"""The exponential moving average of parameters.

    .. math::
        a \leftarrow \beta a + (1 - \beta) p, \qquad
        \hat p = a \,/\, (1 - \beta^t)

    Parameters
    ----------
    params : array or tree of arrays
        The parameters, as an Optimizer has them.
    decay : float or schedule, default 0.999
        :math:`\beta` in [0, 1).
    debias : bool, default True
        Whether to divide by :math:`1 - \beta^t`, so that the first update gives the parameters
        themselves. Otherwise, and with a schedule, the average starts as a copy of the parameters.

    Notes
    -----
    The average takes one array for each leaf, in single precision or wider, on the device of the
    leaf. The engines that run the rules run it too.

    Each update looks into the dicts and lists again, and finds arrays that took the place of
    others. A bare array of JAX, or a tuple of such arrays, cannot be written, so that each step
    makes new ones: pass these to `update` as ``params=``.

    Examples
    --------
    >>> import numpy as np
    >>> import fallline as fl
    >>> x = np.asarray([1.0])
    >>> opt = fl.Optimizer(x, fl.SGD(0.5))
    >>> average = fl.EMA(x, decay=0.5)
    >>> for _ in range(2):
    ...     _ = opt.step(np.asarray([1.0]))
    ...     average.update()
    >>> x, average.params.round(4)
    (array([0.]), array([0.1667]))
    >>> with average.applied():
    ...     x.round(4)
    array([0.1667])
    >>> x
    array([0.])
    """

    def __init__(self, params: Tree, decay: Number = 0.999, *, debias: bool = True) -> None:
        self.source = params
        self._structure = Structure(params)
        leaves = self._structure.flatten(params, "params")
        if not callable(decay):
            decay = _checks.number("decay", decay, 0.0, 1.0, open_high=True)
        self.debias = debias and not callable(decay)
        averages: list[Array] = []
        for path, p in zip(self._structure.paths, leaves, strict=True):
            if p is None:
                averages.append(None)
                continue
            _checks.leaf(_checks.where("params", path), p)
            wide = _arrays.widened(p)
            with _arrays.guard(p)():
                start = _arrays.moved(wide, wide, wide.dtype)
                averages.append(_arrays.full(start, 0.0, start.dtype) if self.debias else start)
        self._given = [p is not None for p in leaves]
        rule = _Average(decay=decay)
        self.decay = rule.decay
        self._opt = Optimizer(self._structure.unflatten(averages), rule)
        # The sum of the weights of what was averaged: what is missing to 1 is the start at zero.
        self._weight = 0.0 if self.debias else 1.0

    @property
    def step_count(self) -> int:
        """The number of updates."""
        return self._opt.step_count

    def update(self, params: Tree = None) -> None:
        """Take the parameters as they are now into the average.

        Parameters
        ----------
        params : array or tree of arrays, optional
            The parameters, if they are no longer in the container given at the start. Each step
            makes a new array of a bare one of JAX, and the average would go on with the old one.

        Raises
        ------
        TypeError, ValueError
            If they do not fit the average; nothing has changed then.
        """
        source = self.source if params is None else params
        leaves = self._structure.flatten(source, "params")
        try:
            wide = [self._taken(i, p) for i, p in enumerate(leaves)]
            self._opt.step(self._structure.unflatten(wide))
        except (TypeError, ValueError):
            self._check(leaves)
            raise
        self.source = source
        self._weight = self._gathered(self._weight, self._opt.step_count - 1)

    def _taken(self, i: int, p: Array) -> Array:
        if (p is None) == self._given[i]:
            what = "an array" if p is None else "None"
            place = _checks.where("params", self._structure.paths[i])
            msg = f"{place}: is {_checks.described(p)}, expected {what} as at the start"
            raise ValueError(msg)
        return _arrays.widened(p) if _arrays.is_array(p) else p

    def _check(self, leaves: list[Array]) -> None:
        # What is wrong with parameters, by their names: to the average they are gradients.
        averages = self._structure.flatten(self._opt.params, "params")
        for path, p, a in zip(self._structure.paths, leaves, averages, strict=True):
            if p is not None and a is not None:
                place = _checks.where("params", path)
                _checks.leaf(place, p)
                _checks.gradient(place, a, _arrays.widened(p))

    def _gathered(self, weight: float, step: int) -> float:
        # The weight after one more update. 1 - weight is a product, which keeps its digits.
        decay = self.decay(step) if callable(self.decay) else self.decay
        return 1.0 - float(decay) * (1.0 - weight)

    @property
    def params(self) -> Tree:
        """The average, as new arrays in the dtypes of the parameters; before an update, copies."""
        now = self._structure.flatten(self.source, "params")
        if self.debias and self.step_count == 0:
            return self._structure.unflatten([p if p is None else _copy(p) for p in now])
        weight = self._weight
        found = self._structure.flatten(self._opt.params, "params")
        result: list[Array] = []
        for p, a in zip(now, found, strict=True):
            if p is None:
                result.append(None)
                continue
            with _arrays.guard(p)():
                result.append(_arrays.moved(_arrays.unscalar(a / weight), p, p.dtype))
        return self._structure.unflatten(result)

    @contextlib.contextmanager
    def applied(self) -> Iterator[Tree]:
        """Hold the average in the parameters' own arrays while a ``with`` block runs.

        JAX's arrays, which cannot be written, are replaced in their dicts and lists.

        Yields
        ------
        array or tree of arrays
            The parameters; they get their values back at the end, bit for bit.

        Raises
        ------
        TypeError
            If a parameter can be neither written nor replaced: a bare array of JAX, or one in
            tuples only. Read `params` there.
        RuntimeError
            At the end, if the block changed a parameter, by a step of an Optimizer for instance.
            The parameters then have their values of before the block again: no training is lost,
            but the changes of the block are. This check waits for a device.

        Notes
        -----
        While the block runs, two more copies of the parameters exist; of JAX's arrays one.
        """
        source = self.source
        now = self._structure.flatten(source, "params")
        fixed = self._structure.fixed(source)
        for i, (path, p) in enumerate(zip(self._structure.paths, now, strict=True)):
            if p is not None and _arrays.is_immutable(p) and i in fixed:
                place = _checks.where("params", path)
                msg = f"{place}: can be neither written nor replaced; read EMA.params instead"
                raise TypeError(msg)
        kept = [p if p is None or _arrays.is_immutable(p) else _copy(p) for p in now]
        average = self._structure.flatten(self.params, "params")
        try:
            self._put(source, now, average)
            yield source
        except BaseException as error:
            if message := self._restore(source, now, kept, average):
                error.add_note(message)
            raise
        if message := self._restore(source, now, kept, average):
            raise RuntimeError(message)

    def _put(self, source: Tree, targets: list[Array], values: list[Array]) -> None:
        # Give parameters other values: written, or the new arrays in the place of the old.
        replaced = {}
        for i, (target, value) in enumerate(zip(targets, values, strict=True)):
            if target is None:
                continue
            if _arrays.is_immutable(target):
                replaced[i] = value
            else:
                with _arrays.guard(target)():
                    _arrays.write(target, value)
        if replaced:
            self._structure.assign(source, replaced)

    def _restore(
        self, source: Tree, now: list[Array], kept: list[Array], average: list[Array]
    ) -> str:
        # Give the parameters their values and places back; return what had changed, in words.
        held = [
            a if p is not None and _arrays.is_immutable(p) else p
            for p, a in zip(now, average, strict=True)
        ]
        try:
            found = self._structure.flatten(source, "params")
            moved = [i for i, (x, y) in enumerate(zip(found, held, strict=True)) if x is not y]
            written = [
                i for i, p in enumerate(now) if p is not None and not _arrays.is_immutable(p)
            ]
            pairs = [(now[i], average[i]) for i in written]
            changed = moved or [written[j] for j in _looks.different(pairs)]
        finally:
            self._put(source, now, kept)
        if moved:
            self._structure.assign(source, {i: now[i] for i in moved})
        if not changed:
            return ""
        place = _checks.where("params", self._structure.paths[changed[0]])
        return f"{place}: was changed while the average was applied; it has its value of before"

    def state_dict(self) -> dict[str, Json]:
        """Return copies of the average and its counts, as `Optimizer.state_dict` does."""
        return {**self._opt.state_dict(), "average": self._description()}

    def _description(self) -> dict[str, Json]:
        return {"debias": self.debias, "weight": self._weight}

    def load_state_dict(self, state_dict: dict[str, Json]) -> None:
        """Restore what `state_dict` returned.

        Parameters
        ----------
        state_dict : dict
            The snapshot.
        """
        bound = self._opt._current()
        self._load(_checkpoint.from_dict(bound, state_dict), state_dict)

    def save(self, path: FilePath) -> None:
        """Write the average to a file, as `Optimizer.save`.

        Parameters
        ----------
        path : str or path
            The file; an existing one is replaced.
        """
        opt = self._opt
        _saving.save(path, opt._ready(), opt._memory, more={"average": self._description()})

    def load(self, path: FilePath) -> None:
        """Restore what `save` wrote.

        Parameters
        ----------
        path : str or path
            The file. An average that was saved with another `decay` goes on with the decay of
            this object.

        Raises
        ------
        ValueError, TypeError
            If this is not the file of an average, or does not fit. Nothing has changed then.
        """
        with _files.Reader(path, _saving.KIND, _saving.VERSION) as file:
            self._load(_saving.snapshot(file), file.header)

    def _load(self, snapshot: _checkpoint.Snapshot, saved: Json) -> None:
        found = saved.get("average")
        if found is None:  # version 1, where it had to be loaded with the settings it was made with
            steps = _checks.count(f"{snapshot.place}: step_count", snapshot.steps)
            weight = 1.0
            if self.debias:
                weight = bias_correction(self.decay, steps) if steps else 0.0
        else:
            place = f"{snapshot.place}: weight of the average"
            weight = _checks.number(place, found["weight"], 0.0, 1.0)
        self._opt._restore(self._opt._current(), snapshot)
        self._weight = weight


def _copy(p: Array) -> Array:
    return _arrays.moved(p, p, p.dtype)
