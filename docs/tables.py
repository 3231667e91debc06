"""Tables of the documentation, made from the code: python docs/tables.py

Writes docs/_generated/*.md and the parts of README.md between the markers. A test fails while
they are stale.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np

import fallline as fl
from fallline.optimizer._from_torch import _rule

ROOT = Path(__file__).parents[1]
# Settings that add state, for the table of memory.
OPTIONS = {
    "SGD": {"momentum": 0.9},
    "RMSprop": {"centered": True, "momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"amsgrad": True},
}
# What a rule cannot be made without.
NEEDS = {"Lookahead": {"rule": fl.SGD()}}


def public(module, base):
    """Return the public classes below a base, in the order of the module's own table."""
    classes = [getattr(module, name) for name in module.__all__]
    classes = [c for c in classes if inspect.isclass(c) and issubclass(c, base) and c is not base]
    return sorted(classes, key=lambda c: c.__name__)


def first_line(cls):
    """Return the one-line summary of a docstring."""
    return inspect.getdoc(cls).splitlines()[0]


def notes(cls):
    """Return the Notes section of a docstring as one paragraph for a cell of a table."""
    found = re.search(r"\nNotes\n-+\n(.*?)(\n\n\w+\n-+\n|$)", inspect.getdoc(cls), re.DOTALL)
    text = " ".join(found.group(1).split()) if found else ""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    return re.sub(r"`+([^`]+)`+", r"`\1`", text)


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def rules_table():
    """Return the rules with their state, in arrays and in bytes per element."""
    rows = []
    for cls in public(fl.rules, fl.rules.Rule):
        options = [{}, OPTIONS[cls.__name__]] if cls.__name__ in OPTIONS else [{}]
        options = [NEEDS[cls.__name__]] if cls.__name__ in NEEDS else options
        for kwargs in options:
            rule = cls(**kwargs)
            shown = {} if cls.__name__ in NEEDS else kwargs
            name = f"`{cls.__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})`"
            names = ", ".join(f"`{slot.name}`" for slot in rule.slots) or "none"
            sizes = []
            for dtype in ("float32", "float16", "complex64"):
                try:
                    state = rule.init(np.zeros((1000, 1000), dtype)).leaves
                except ValueError:
                    sizes.append("")
                    continue
                total = sum(x.nbytes for key, x in state.items() if key != "step")
                sizes.append(f"{total / 1e6:g}")
            rows.append(
                [
                    name.replace("()", ""),
                    first_line(cls) if kwargs is options[0] else "",
                    names,
                    *sizes,
                ]
            )
    head = ["rule", "", "state", "float32", "float16", "complex64"]
    return (
        table(head, rows)
        + "\nState in bytes per element of a 1000 x 1000 parameter, on its device; half precision"
        " keeps its state in float32.\n"
    )


def losses_table():
    """Return the losses with what they take."""
    rows = [
        [
            f"`{cls.__name__}`",
            first_line(cls),
            "complex or real" if cls.complex_pred else "real",
            str(cls.domain) if cls.domain != fl.losses.Domain() else "any",
            "row" if cls.rows else "element",
        ]
        for cls in public(fl.losses, fl.losses.Loss)
    ]
    return table(["loss", "", "prediction", "targets", "a term for each"], rows)


# Defaults of optax 0.2.8 and keras 3.15 where they have the rule, by our names; a rate that must be
# given is "required".
OTHERS = {
    "Adadelta": (
        {"learning_rate": "none", "rho": 0.9, "eps": 1e-6},
        {"learning_rate": 1e-3, "rho": 0.95, "eps": 1e-7, "decoupled": True},
    ),
    "Adafactor": (
        {"learning_rate": "none", "beta2_decay": 0.8, "eps1": 1e-30, "eps2": 1e-3,
         "threshold": 1.0},
        {"learning_rate": 1e-3, "beta2_decay": 0.8, "eps1": 1e-30, "eps2": 1e-3, "threshold": 1.0},
    ),
    "Adagrad": (
        {"initial_accumulator": 0.1, "eps": 1e-7, "eps_inside_sqrt": True},
        {"learning_rate": 1e-3, "initial_accumulator": 0.1, "eps": 1e-7, "eps_inside_sqrt": True,
         "decoupled": True},
    ),
    "Adam": (
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "eps_root": 0.0},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "eps_hat": True,
         "decoupled": True},
    ),
    "AdamW": (
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "eps_root": 0.0, "weight_decay": 1e-4},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "eps_hat": True,
         "weight_decay": 4e-3, "decoupled": True},
    ),
    "Adamax": (
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "decoupled": True},
    ),
    "AdaBelief": ({"beta1": 0.9, "beta2": 0.999, "eps": 1e-16}, {}),
    "Adan": ({"beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "eps": 1e-8}, {}),
    "FTRL": (
        {},
        {"learning_rate": 1e-3, "beta": 0.0, "l1": 0.0, "l2": 0.0, "l2_shrinkage": 0.0,
         "learning_rate_power": -0.5, "initial_accumulator": 0.1},
    ),
    "LAMB": (
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "eps_root": 0.0, "weight_decay": 0.0},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7},
    ),
    "LARS": ({"momentum": 0.9, "trust_coefficient": 1e-3, "eps": 0.0, "weight_decay": 0.0}, {}),
    "Lion": (
        {"beta1": 0.9, "beta2": 0.99, "weight_decay": 1e-3},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.99},
    ),
    "Muon": (
        {"momentum": 0.95, "weight_decay": 0.0, "iterations": 5,
         "coefficients": (3.4445, -4.775, 2.0315)},
        {"learning_rate": 1e-3, "momentum": 0.95, "weight_decay": 4e-3, "iterations": 5,
         "coefficients": (3.4445, -4.775, 2.0315)},
    ),
    "NAdam": (
        {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "momentum_decay": 1.0,
         "decoupled": True},
    ),
    "RAdam": ({"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, {}),
    "RMSprop": (
        {"rho": 0.9, "eps": 1e-8, "eps_inside_sqrt": True, "initial_accumulator": 0.0},
        {"learning_rate": 1e-3, "rho": 0.9, "eps": 1e-7, "eps_inside_sqrt": True,
         "initial_accumulator": 0.0, "decoupled": True},
    ),
    "Rprop": ({"shrink": 0.5, "grow": 1.2, "minimum": 1e-6, "maximum": 50.0}, {}),
    "SGD": ({"momentum": 0.0}, {"learning_rate": 1e-2, "momentum": 0.0, "decoupled": True}),
    "ScheduleFreeAdamW": (
        {"learning_rate": 2.5e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
        {"learning_rate": 2.5e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    ),
    "ScheduleFreeSGD": ({"learning_rate": 1.0, "beta1": 0.9}, {}),
    "SignSGD": ({"learning_rate": "required"}, {}),
    "Yogi": ({"beta1": 0.9, "beta2": 0.999, "eps": 1e-3, "initial_accumulator": 1e-6}, {}),
}  # fmt: skip


def torch_defaults(name):
    """Return torch's defaults of a rule by our names, or nothing if it has none."""
    import torch

    cls = getattr(torch.optim, name, None)
    if cls is None or name == "GradientDescent":
        return {}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    rule = _rule(name, {p.name: p.default for p in parameters})
    return {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}


def defaults_table():
    """Return every number's default beside that of torch (read from it), optax and keras."""
    rows = []
    for cls in public(fl.rules, fl.rules.Rule):
        if cls.__name__ in NEEDS:
            continue
        theirs = torch_defaults(cls.__name__), *OTHERS.get(cls.__name__, ({}, {}))
        for field in dataclasses.fields(cls):
            if field.name in ("complex_moment", "maximize", "companion", "_"):
                continue
            columns = [x.get(field.name, "") for x in theirs]
            if theirs[1] and field.name == "learning_rate" and columns[1] == "":
                columns[1] = "required"
            rows.append(
                [f"`{cls.__name__}`", f"`{field.name}`", *map(shown, (field.default, *columns))]
            )
    return table(["rule", "field", "fallline", "torch", "optax", "keras"], rows)


def shown(value):
    """Return a default as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def notes_table(module, base, head):
    """Return the Notes of every class: memory, conventions, differences from other libraries."""
    return table([head, "notes"], [[f"`{c.__name__}`", notes(c)] for c in public(module, base)])


def backends_table():
    """Return what the tests run on."""
    rows = [
        ["NumPy", "updated in place", "every test"],
        ["CuPy", "updated in place", "the same tests; they skip without a CUDA device"],
        ["torch", "updated in place, outside of the gradient tape", "every test, on the CPU"],
        ["torch's DTensor", "updated in place, each process its part", "two processes"],
        ["JAX", "replaced in their dicts and lists", "every test, the pure form under `jit`"],
        ["array_api_strict", "updated in place", "every test, on a second device"],
        [
            "dpnp",
            "updated in place",
            "every test, on an OpenCL device whose memory NumPy cannot read",
        ],
    ]
    return table(["arrays", "an Optimizer's parameters are", "tested by"], rows)


def generated():
    """Return {file: text} of everything that is made from the code."""
    folder = ROOT / "docs" / "_generated"
    rules, losses = rules_table(), losses_table()
    readme = ROOT / "README.md"
    text = readme.read_text()
    for name, part in (("rules", rules), ("losses", losses)):
        marker = f"<!-- {name}: made by docs/tables.py -->\n"
        text = re.sub(
            rf"({re.escape(marker)}).*?(<!-- end -->)",
            lambda match, part=part: f"{match.group(1)}{part}{match.group(2)}",
            text,
            flags=re.DOTALL,
        )
    return {
        readme: text,
        folder / "rules.md": rules,
        folder / "losses.md": losses,
        folder / "backends.md": backends_table(),
        folder / "defaults.md": defaults_table(),
        folder / "rule_notes.md": notes_table(fl.rules, fl.rules.Rule, "rule"),
        folder / "loss_notes.md": notes_table(fl.losses, fl.losses.Loss, "loss"),
    }


def main():
    """Write them."""
    for path, text in generated().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
