"""What people who come from other libraries look for in an Optimizer, and where it is here."""

from __future__ import annotations

from .._arrays._types import Tree

# Attributes that torch's and keras's optimizers have.
ATTRIBUTES = {
    "zero_grad": "gradients are given to step(grads) and not kept, so there are none to reset",
    "param_groups": "each leaf has its own rule: read params and rule; assign to rule",
    "add_param_group": "bind other arrays with rebind(params, rule=...)",
    "defaults": "the numbers of all rules are hyperparameters()",
    "lr": "its rate is learning_rate; assign to rule to change it",
    "apply_gradients": "the gradients are given to step(grads)",
    "minimize": "solvers and rules alike run by fallline.minimize(fun, x0, method)",
}


def attribute(name: str) -> AttributeError:
    """Return the error for an attribute of theirs."""
    return AttributeError(f"Optimizer has no attribute {name!r}; {ATTRIBUTES[name]}", name=name)


def check_no_groups(params: Tree) -> None:
    """Check that params are not a list of torch's groups, which are dicts with ``"params"``."""
    if not isinstance(params, list) or not params:
        return
    for i, group in enumerate(params):
        if not isinstance(group, dict) or "params" not in group:
            return
        numbers = [name for name, x in group.items() if isinstance(x, bool | int | float)]
        if numbers:
            msg = (
                f"params[{i}]: is a group with {', '.join(map(repr, numbers))}, expected arrays; "
                "give a tree of arrays, and as the rule a tree with a rule for each part of it"
            )
            raise TypeError(msg)
