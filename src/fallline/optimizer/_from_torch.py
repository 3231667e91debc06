"""Coming from torch: an Optimizer that goes on where one of torch.optim stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .. import _arrays, rules
from .._arrays import _checks
from .._arrays._trees import Structure
from .._arrays._types import Array, Tree
from ..rules import Rule
from ._optimizer import Optimizer

# The value of a setting: a number, a tensor of one, a pair of numbers, a truth, text or None.
Setting: TypeAlias = Any

# torch's settings by our fields; a function makes several of one.
FIELDS: dict[str, str | Callable[[Setting], dict[str, Setting]]] = {
    "lr": "learning_rate",
    "lr_decay": "learning_rate_decay",
    "initial_accumulator_value": "initial_accumulator",
    "decoupled_weight_decay": "decoupled",
    "betas": lambda x: {"beta1": x[0], "beta2": x[1]},
    "etas": lambda x: {"shrink": x[0], "grow": x[1]},
    "step_sizes": lambda x: {"minimum": x[0], "maximum": x[1]},
    "lambd": "decay",
    "t0": "start",
    "d": "threshold",
    "beta2_decay": lambda x: {"beta2_decay": -x},
    "ns_steps": "iterations",
    "ns_coefficients": lambda x: {"coefficients": tuple(map(_arrays.to_float, x))},
    "adjust_lr_fn": lambda x: {"scale": x or "original"},
}
SPECIAL: dict[tuple[str, str], str | Callable[[Setting], dict[str, Setting]]] = {
    ("RMSprop", "alpha"): "rho",
    ("ASGD", "alpha"): "power",
    ("Adafactor", "eps"): lambda x: {"eps1": x[0] or 0.0, "eps2": x[1]},
}
# How torch computes, or what belongs to its schedulers.
IGNORED = (
    "params",
    "foreach",
    "capturable",
    "differentiable",
    "fused",
    "initial_lr",
    "param_names",
)
# torch's state by our slots.
SLOTS = {
    "m": ("exp_avg",),
    "v": ("exp_avg_sq", "square_avg", "sum", "variance"),
    "vmax": ("max_exp_avg_sq",),
    "b": ("momentum_buffer",),
    "a": ("grad_avg",),
    "u": ("acc_delta", "exp_inf"),
    "size": ("step_size",),
    "last": ("prev",),
    "ax": ("ax",),
    "row": ("row_var",),
    "col": ("col_var",),
}


def from_torch(torch_optimizer: Any, params: Tree = None) -> Optimizer:
    """Return an Optimizer that goes on with the rules and the state of a torch optimizer.

    Parameters
    ----------
    torch_optimizer : torch.optim.Optimizer
        An optimizer of a class that has a rule in fallline. It is not changed.
    params : tree of arrays, optional
        The parameters, of any library, with the same shapes. Where torch's groups hold names
        (``torch.optim.Adam(model.named_parameters())``), they are matched with the paths of the
        leaves, joined by dots. Otherwise the leaves must stand in the order of torch's groups;
        dicts are read in the order of insertion. By default these are torch's own tensors, as a
        list.

    Returns
    -------
    Optimizer
        It makes the steps that torch's would make next. Complex leaves keep a second moment for
        each component, as in torch.

    Raises
    ------
    TypeError, ValueError
        If fallline has no such rule, a setting has no counterpart, or the parameters do not fit.

    Examples
    --------
    ::

        theirs = torch.optim.AdamW(model.parameters(), lr=1e-3)
        ...
        params = {name: cupy.asarray(p.detach()) for name, p in model.named_parameters()}
        opt = fl.from_torch(theirs, params)
    """
    found, chosen = [], []
    names: list[str] = []
    for group in torch_optimizer.param_groups:
        rule = _rule(type(torch_optimizer).__name__, group)
        for p in group["params"]:
            found.append(p)
            chosen.append(rule)
        names += group.get("param_names") or []
    params = list(found) if params is None else params
    structure = Structure(params)
    leaves = structure.flatten(params, "params")
    present = [i for i in structure.own_order(params) if leaves[i] is not None]
    if len(present) != len(found):
        raise ValueError(_checks.mismatch("params", "number of arrays", len(present), len(found)))
    joined = {".".join(map(str, structure.paths[i])): i for i in present}
    if len(names) == len(found) and set(names) == set(joined):
        present = [joined[name] for name in names]
    given: list[Rule | None] = [None] * len(leaves)
    for i, theirs, rule in zip(present, found, chosen, strict=True):
        place = _checks.where("params", structure.paths[i])
        if tuple(leaves[i].shape) != tuple(theirs.shape):
            shapes = tuple(leaves[i].shape), tuple(theirs.shape)
            raise ValueError(_checks.mismatch(place, "shape", *shapes))
        given[i] = rule
    opt = Optimizer(params, structure.unflatten(given))
    last = 0
    for i, theirs in zip(present, found, strict=True):
        leaf, state = opt._bound.leaves[i], torch_optimizer.state.get(theirs, {})
        if not state:
            continue
        assert leaf.state is not None
        leaf.state.count = _count(state)
        last = max(last, leaf.state.count)
        for name in leaf.names:
            keys = [key for key in SLOTS.get(name, ()) if state.get(key) is not None]
            if keys:
                held = leaf.state.slots[name]
                value = _arrays.moved(_arrays.to_numpy(state[keys[0]]), held, held.dtype)
                if leaf.immutable:
                    leaf.state.slots[name] = value
                else:
                    with leaf.guard():
                        _arrays.write(held, value)
    opt._memory.advance(last)
    return opt


def _rule(name: str, group: dict[str, Setting]) -> Rule:
    cls = {kind.lower(): kind for kind in rules.names()}.get(name.lower())
    if cls is None:
        known = ", ".join(rules.names())
        msg = f"torch_optimizer: there is no rule for torch's {name}; there are {known}"
        raise TypeError(msg)
    fields: dict[str, Setting] = {}
    for key, value in group.items():
        if key in IGNORED:
            continue
        target = SPECIAL.get((name, key)) or FIELDS.get(key, key)
        fields |= target(value) if callable(target) else {target: value}
    rule = rules.get(cls)
    own = type(rule).__dataclass_fields__  # type: ignore[attr-defined]
    if "complex_moment" in own:
        fields["complex_moment"] = "components"
    for key in fields:
        if key not in own:
            msg = f"torch_optimizer: {name}({key}=) has no counterpart"
            raise ValueError(msg)
    numbers = {
        key: _arrays.to_float(value) if _arrays.is_array(value) else value
        for key, value in fields.items()
    }
    return rules.get(cls, **numbers)


def _count(state: dict[str, Array]) -> int:
    # SGD and Muon do not count; what matters there is whether there was a step.
    if "step" in state:
        return int(_arrays.to_float(state["step"]))
    return int(any(value is not None for value in state.values()))
