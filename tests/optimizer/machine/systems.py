"""One of the Optimizers that make every operation together, and how two of them are compared."""

from __future__ import annotations

import contextlib
import warnings

import array_api_strict
import numpy as np
import torch

import fallline as fl
from fallline import _arrays
from fallline._arrays import _memory
from fallline.optimizer import _checkpoint
from tests.helpers import bits

from . import parts


class System:
    """An Optimizer on one library and engine, and its average.

    Parameters
    ----------
    library : str
        Of the arrays.
    engine : str
        Of the Optimizer.
    folder : path, optional
        Where the Optimizer is saved after every operation, and loaded into a fresh one.
    """

    def __init__(self, library, engine, folder=None):
        self.library, self.engine, self.folder = library, engine, folder
        self.seen = None
        self.name = f"{library} {engine}{', fresh' if folder else ''}"

    # -- arrays --------------------------------------------------------------------------------

    def array(self, x):
        """Return an array of NumPy as one of the library, a copy."""
        x = np.array(x)
        if self.library == "torch":
            return torch.from_numpy(x)
        return array_api_strict.asarray(x, copy=True) if self.library == "strict" else x

    def numpy(self, x):
        """Return a copy as an array of NumPy."""
        if self.library == "torch":
            return x.numpy().copy()
        return np.array(x._array if self.library == "strict" else x)

    def values(self):
        """Return the parameters, as NumPy's, as the container has them now."""
        return {p: x if x is None else self.numpy(x) for p, x in self.leaves().items()}

    def leaves(self):
        return parts.flat(self.opt.params)

    def kinds(self):
        """Return shape and dtype of each leaf by path."""
        return {
            path: x if x is None else (tuple(x.shape), _arrays.dtype_name(x))
            for path, x in self.leaves().items()
        }

    # -- made ----------------------------------------------------------------------------------

    def build(self, make, values):
        """Make the Optimizer of a description and values."""
        self.opt = self.made(make, values)
        self.ema = None

    def made(self, make, values):
        """Return an Optimizer of a description and values."""
        container = parts.tree({p: x if x is None else self.array(x) for p, x in values.items()})
        kinds = {p: x if x is None else (x.shape, x.dtype.name) for p, x in values.items()}
        return fl.Optimizer(
            container, make.spec.made(parts.plateau()), engine=self.engine,
            **make.options(kinds, self.array),
        )  # fmt: skip

    def renew(self, make):
        """Put a fresh Optimizer in the place of this one, by a file."""
        path = self.folder / "run.npz"
        self.opt.save(path)
        zeros = {p: x if x is None else np.zeros_like(x) for p, x in self.values().items()}
        before, self.opt = self.opt, self.made(make, zeros)
        with ignored():
            self.opt.load(path)
        if self.ema is not None:
            self.ema.save(path)
            self.ema = fl.EMA(self.opt.params, decay=self.ema.decay)
            self.ema.load(path)
        return before

    @property
    def plateaus(self):
        """The schedules that follow a metric, each once."""
        found = (x for leaf in self.opt._bound.leaves for x in within(leaf.rule))
        return list({id(x): x for x in found}.values())

    @property
    def scale(self):
        """The scale of the loss, or one."""
        scale = self.opt._bound.options.loss_scale
        return 1.0 if scale is None else float(scale)

    # -- looked at -----------------------------------------------------------------------------

    def content(self):
        """Return all that an Optimizer consists of, arrays as copies of NumPy's."""
        opt, found = self.opt, {}
        opt._memory.settle()
        for path, x in self.leaves().items():
            found["params", path] = x if x is None else self.numpy(x)
        for leaf in opt._bound.leaves:
            if leaf.state is not None:
                for name, x in leaf.state.slots.items():
                    found[name, leaf.path] = self.numpy(x)
                found["step", leaf.path] = leaf.state.count
            for name in ("rate", "decay"):
                x = getattr(leaf.terms, name)
                found[f"{name}_factors", leaf.path] = self.numpy(x) if _arrays.is_array(x) else x
            found["rule", leaf.path] = repr(leaf.rule)
        found["flow"] = _checkpoint.flow(opt._bound, opt._memory)
        found["counts"] = opt.step_count, opt.skipped
        found["numbers"] = opt._numbers()
        if self.ema is not None:
            found["ema"] = self.ema.step_count, self.ema._weight
            for path, x in parts.flat(self.ema.params).items():
                found["average", path] = x if x is None else self.numpy(x)
        return found

    def before(self):
        """Return the content, as it was seen last if nothing has happened since."""
        if self.seen is None and hasattr(self, "opt"):
            self.seen = self.content()
        return self.seen

    @property
    def locked(self):
        """Whether the Optimizer says that it was interrupted."""
        try:
            self.opt.state_dict()
        except RuntimeError as error:
            if "interrupted while it wrote" not in str(error):
                raise
            return True
        return False


def within(x):
    """Return the schedules that follow a metric in a rule, at any depth."""
    if isinstance(x, fl.schedules.ReduceOnPlateau):
        yield x
    elif isinstance(x, tuple | list):
        for part in x:
            yield from within(part)
    elif isinstance(x, fl.rules.Rule | fl.schedules.Schedule):
        for part in vars(x).values():
            yield from within(part)


def same(a, b, *, exact=True, rough=False, what=""):
    """Assert that two contents are equal, to the bit or to what other libraries allow."""
    assert set(a) == set(b), f"{what}: {sorted(map(str, set(a) ^ set(b)))}"
    for key, x in a.items():
        y = b[key]
        if not isinstance(x, np.ndarray):
            assert x == y or (exact is False and key == "flow" and _near(x, y)), (
                f"{what}: {key} is {y}, expected {x}"
            )
            continue
        alike = (x.shape, x.dtype.name) == (y.shape, y.dtype.name)
        equal = alike and (np.array_equal(bits(x), bits(y)) if exact else _close(x, y, rough))
        assert equal, f"{what}: {key} is {y!r}, expected {x!r}"


def _near(x, y):
    # The numbers of both are those of the host but for the scale, which is 0-d on a device.
    return {**x, "gradients": None} == {**y, "gradients": None} and all(
        np.allclose(list(a.values()), list(b.values()), rtol=1e-6)
        for a, b in zip(x["gradients"], y["gradients"], strict=True)
    )


def _close(x, y, rough):
    rtol = 2e-2 if x.dtype.itemsize <= 4 else 1e-5 if rough else 1e-9
    with np.errstate(all="ignore"):
        finite = np.isfinite(x)
        if not np.array_equal(finite, np.isfinite(y)):
            return rough and np.max(np.abs(np.where(finite, x, 0)), initial=0) > 1e4
        size = np.max(np.abs(x[finite]), initial=0.0)
        return bool(np.all(np.abs(x[finite] - y[finite]) <= rtol * (size + 1e-3)))


@contextlib.contextmanager
def ignored():
    """Ignore what `load` has to say of other numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Where errors are thrown in: the object, and the name of its function.
TARGETS = {
    "moved": (_arrays, "moved"),
    "write": (_arrays, "write"),
    "Memory": (_memory.Memory, "check"),
    "Blocks": (_memory, "owner"),
    "constraint": None,
}


@contextlib.contextmanager
def failing(target, n, error):
    """Let the n-th call of a function raise an error, or of a user's constraint."""
    parts.Fault.left, parts.Fault.error = n, error
    place = TARGETS[target]
    try:
        if place is None:
            yield
            return
        owner, name = place
        whole = getattr(owner, name)

        def broken(*args, **kwargs):
            parts.Fault.count()
            return whole(*args, **kwargs)

        parts.Fault.left = 0
        setattr(owner, name, broken)
        parts.Fault.left = n
        try:
            yield
        finally:
            setattr(owner, name, whole)
    finally:
        parts.Fault.left = 0
