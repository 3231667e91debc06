"""Proximal gradients: penalties that are not smooth, and constraints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays import _checks
from .._arrays._types import Array, Number, Tree
from ..stop import RelativeGradient
from ._base import Run, Solver
from ._search import UNBOUNDED, NoProgress, Trial, no_step
from ._space import numbers

STRETCH = 1e18  # times that a step may become longer while the objective bends down or not at all


@dataclass
class _Start:  # of a step
    x: Array
    smooth: float
    gradient: Array


class ProximalRun(Run):
    """Smooth penalties join the objective; the others, and the constraints, are the map P."""

    solver: ProximalGradient
    remembers = (*Run.remembers, "_previous", "_theta", "_t", "_smooth", "_bent", "_straight")
    proximal = True
    default_stop = RelativeGradient()
    _straight = math.inf  # the length of the first step since the objective last bent up

    def _setup(self, penalty: Tree, constraint: Tree) -> None:
        structure = self.space.structure
        penalties = structure.broadcast(penalty, "penalty")
        self._constraints = structure.broadcast(constraint, "constraint")
        self._penalties = [None if p is None or p.smooth else p for p in penalties]
        smooth = [p if p is not None and p.smooth else None for p in penalties]
        self.objective.penalise(smooth)
        for i, (p, c) in enumerate(zip(self._penalties, self._constraints, strict=True)):
            place = _checks.where("constraint", structure.paths[i])
            if c is not None and not callable(c):
                msg = f"{place}: is a {type(c).__name__}, expected a constraint or a function"
                raise TypeError(msg)
            if p is not None and c is not None and not (p.elementwise and _elementwise(c)):
                msg = f"{place}: {c!r} beside {p!r}: both must act on each element by itself"
                raise ValueError(msg)

    def _map(self, vector: Array, t: float) -> Array:
        # P: the proximal point of t times the penalty, then the projection.
        if not any(x is not None for x in (*self._penalties, *self._constraints)):
            return vector
        structure = self.space.structure
        leaves = structure.flatten(self.space.unpack(vector), "x")
        for i, (p, c) in enumerate(zip(self._penalties, self._constraints, strict=True)):
            if leaves[i] is None:
                continue
            if p is not None:
                leaves[i] = p.prox(leaves[i], t)
            if c is not None:
                leaves[i] = c(leaves[i])
        return self.space.pack(structure.unflatten(leaves), "constraint")

    def _penalty(self, vector: Array) -> Number:
        # The value of the penalties that are not smooth.
        leaves = self.space.structure.flatten(self.space.unpack(vector), "x")
        pairs = zip(self._penalties, leaves, strict=True)
        values = [p.value(x) for p, x in pairs if p is not None and p.valued and x is not None]
        return sum(values[1:], values[0]) if values else None

    def _begin(self, x: Array) -> None:
        self._before: Array = None
        self._previous: Array = None
        self._theta, self._d, self._bent, self._straight = 0.0, None, False, math.inf
        x = self._map(x, 0.0)
        value, gradient = self.objective(x)
        penalty = self._penalty(x)
        arrays = [self.space.peak(gradient), *([] if penalty is None else [penalty])]
        got = numbers(self.space, value, arrays)
        self._smooth = float(got[0])
        total = self._smooth + float(got[2] if penalty is not None else 0.0)
        norm = float(got[1])
        # The first step changes no element by more than 1, whatever the units of the objective.
        self._t = self._fixed or (1 / norm if 0 < norm < math.inf else 1.0)
        if norm == 0:  # what is left is the pull of the penalties, by a step of length 1
            norm = self.space.read(self.space.peak(self._map(x, 1.0) - x))
        self.at = Trial(0.0, total, math.nan, x, gradient, None, norm)
        self._begun()

    def _begun(self) -> None:
        """Take note of where the run begins: a hook."""

    @property
    def compares(self) -> bool:  # type: ignore[override]
        """Whether values decide: on the length of a step."""
        return self.solver.step_size is None

    @property
    def _vanishing(self) -> tuple[Array, float]:
        return self.at.pseudo, self.at.t or 1.0

    @property
    def _fixed(self) -> float | None:
        return None if self.solver.step_size is None else self._length(self.iteration)

    def _lost(self, peak: float, size: float) -> bool:
        """Tell whether the largest element of a step is next to the rounding of the point."""
        return peak <= 1e3 * self.space.epsilon * size

    def _seen(self, x: Array, gradient: Array, t: float, size: float) -> tuple[Array, float]:
        """Return a step that is long enough to be seen, shortened to t, and what is to vanish."""
        steep = self.space.read(self.space.peak(gradient)) or 1.0
        longer = max(t, math.sqrt(self.space.epsilon) * size / steep)
        d = self._map(x - longer * gradient, longer) - x
        return d * (t / longer), self.space.read(self.space.peak(d)) / longer

    def _length(self, iteration: int) -> float:
        size = self.solver.step_size
        assert size is not None
        return float(size(iteration) if callable(size) else size)


class ProximalGradientRun(ProximalRun):
    """Steps from where the objective was evaluated, or evaluated ahead; lengths may be found."""

    def _advance(self) -> Trial:
        t = self._fixed or self._t
        theta = _grown(self._theta, self._t / t)
        beta = (self._theta - 1) / theta if self.solver.accelerated else 0.0
        start = _Start(self.at.x, self._smooth, self.at.gradient)
        if beta > 0:
            ahead = self._extrapolated(beta)
            start, theta = (start, 1.0) if ahead is None else (ahead, theta)
        while True:
            trial, longest, turned, moved = self._compared(start, t)
            if t <= longest * (1 + 1e-6) or self._fixed:  # whatever the rounding
                break
            self._bent = True
            t = min(0.5 * t, max(longest, 1e-3 * t))
            if t < 1e-300 or (trial.norm > 0 and not moved):
                raise NoProgress(no_step(at_precision=False))
        self._straight = min(self._straight, t) if longest == math.inf else math.inf
        if t > STRETCH * self._straight and trial.value < self.at.value:
            raise NoProgress(UNBOUNDED)
        # Momentum that points uphill is dropped.
        self._theta = 1.0 if turned and self.solver.restart else theta
        # Steps become longer where the curvature lets them, faster until one was too long.
        growth = min(max(longest / t, 1.0), 1.25 if self._bent else 10.0)
        self._previous, self._t = self.at.x, min(t * (1.0 if self._fixed else growth), 1e300)
        return trial

    def _extrapolated(self, beta: float) -> _Start | None:
        # The objective ahead of the point; nothing where it is not finite there, as beyond the
        # domain of a logarithm.
        y = self.at.x + beta * (self.at.x - self._previous)
        value, gradient = self.objective(y)
        got = numbers(self.space, value, [self.space.peak(gradient)])
        if not np.isfinite(got).all():
            return None
        return _Start(y, float(got[0]), gradient)

    def _compared(self, start: _Start, t: float) -> tuple[Trial, float, bool, bool]:
        # The point after a step of length t; the longest step for which the smooth part would lie
        # below its parabola there; whether the step turns against the last; whether it moves at
        # all.
        z = self._map(start.x - t * start.gradient, t)
        value, gradient = self.objective(z)
        penalty = self._penalty(z)
        d = z - start.x
        arrays = [
            self.space.peak(d), self.space.peak(z), self.space.peak(gradient), d @ d,
            d @ start.gradient, d @ gradient, d @ (z - self.at.x),
        ]  # fmt: skip
        got = numbers(self.space, value, arrays if penalty is None else [*arrays, penalty])
        smooth, peak, size, steep, square, before, after, turn = (float(x) for x in got[:8])
        excess = smooth - start.smooth - before
        if self.space.epsilon * abs(smooth) > 1e-4 * square / t:
            excess = 0.5 * (after - before)  # by the slopes, where the difference is rounding
        longest = 0.0
        if math.isfinite(smooth) and math.isfinite(steep):
            longest = square / (2 * excess) if excess > 0 else math.inf
        self._smooth = smooth
        total = smooth + (float(got[8]) if penalty is not None else 0.0)
        norm = peak / t if math.isfinite(steep) else math.nan
        if norm < math.inf and self._lost(peak, size):
            d, norm = self._seen(z, gradient, t, size)
        trial = Trial(t, total, math.nan, z, gradient, None, norm, d)
        return trial, longest, turn < 0, peak > 0


class FixedStepRun(ProximalRun):
    """Momentum with steps of given lengths: the objective is evaluated where they begin."""

    remembers = (*ProximalRun.remembers, "_ahead")

    def _begun(self) -> None:
        self._ahead, self._theta = (self.at.x, self.at.gradient), 1.0

    def _advance(self) -> Trial:
        xp, (y, slope), t = self.space.xp, self._ahead, self._t
        z = self._map(y - t * slope, t)
        step, moved = z - y, z - self.at.x
        arrays = [self.space.peak(step), self.space.peak(z), turn := step @ moved]
        if (penalty := self._penalty(z)) is not None:
            arrays.append(penalty)
        self._t = self._length(self.iteration + 1)
        fresh, theta = (_grown(x, t / self._t) for x in (1.0, self._theta))
        beta = (self._theta - 1) / theta
        share = beta * xp.ones_like(turn)
        if self.solver.restart:
            share = xp.where(turn < 0, xp.zeros_like(turn), share)
        value, steep, peak, size, turned, *more = self._look(z + share * moved, arrays)
        if not (math.isfinite(steep) and (math.isfinite(value) or not self.objective.valued)):
            # Ahead of the domain, as of a logarithm: the next step begins where this one ended.
            value, steep = self._look(z, arrays)[:2]
            theta = fresh
        self._theta = fresh if turned < 0 and self.solver.restart else theta
        self._previous, self._smooth = self.at.x, value
        norm = peak / t if math.isfinite(steep) else math.nan
        if norm < math.inf and self._lost(peak, size):
            step, norm = self._seen(y, slope, t, size)
        return Trial(t, value + sum(more), math.nan, z, self._ahead[1], None, norm, step)

    def _look(self, y: Array, arrays: Sequence[Array]) -> list[float]:
        # Evaluate where the next step begins, and read what this one was.
        value, gradient = self.objective(y)
        self._ahead = y, gradient
        got = numbers(self.space, value, [self.space.peak(gradient), *arrays])
        return [float(x) for x in got]


def _grown(theta: float, ratio: float) -> float:
    # Nesterov's sequence, where lengths change: the last over the next is `ratio`.
    return 0.5 * (1 + math.sqrt(1 + 4 * theta**2 * ratio))


def _elementwise(constraint: Callable[[Array], Array]) -> bool:
    return bool(getattr(constraint, "elementwise", False))


@dataclass(frozen=True, repr=False)
class ProximalGradient(Solver):
    r"""Proximal gradients, for penalties that are not smooth and for constraints.

    .. math::
        y_k &= x_k + \beta_k (x_k - x_{k-1}) \\
        x_{k+1} &= P_{t}\bigl(y_k - t\, \nabla f(y_k)\bigr)

    where P is the proximal point of t times the penalty, then the projection on the constraint.

    Parameters
    ----------
    step_size : float, callable, optional
        The step length t, or a schedule ``iteration -> float``. By default it is searched: halved
        until f lies below its parabola, and tried 1.25 times longer in the next iteration.
    accelerated : bool, default False
        Whether to use Nesterov's momentum [1]_; otherwise :math:`\beta = 0`.
    restart : bool, default True
        Whether to drop the momentum when it leads uphill [2]_.

    Notes
    -----
    An iteration takes one evaluation, and one more for each halving; each evaluation synchronises
    with the device once. ``"fista"`` is the accelerated form. If it searches its step lengths, it
    takes a second evaluation, at :math:`y_k`. With a `step_size` it evaluates at :math:`y_k` only:
    the values and gradients of its records are those at the point where the next step begins. The
    `gradient_norm` of records is the largest element of :math:`(x_{k+1} - y_k) / t`. With a
    `step_size` no values are needed: ``minimize(None, x0, gradient=...)``.

    References
    ----------
    .. [1] Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
       problems", 2009.
    .. [2] O'Donoghue, Candès, "Adaptive restart for accelerated gradient schemes", 2015.
    """

    step_size: float | Callable[[int], float] | None = None
    accelerated: bool = False
    restart: bool = True

    @property
    def _run(self) -> type[ProximalRun]:  # type: ignore[override]
        fixed = self.accelerated and self.step_size is not None
        return FixedStepRun if fixed else ProximalGradientRun

    def __post_init__(self) -> None:
        """Check the step length."""
        if self.step_size is not None and not callable(self.step_size):
            _checks.positive("step_size", self.step_size, math.inf)
