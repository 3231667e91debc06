"""Tensors of torch in host memory, which the engines of NumPy step."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from tests.cases import AROUND, COMPLEX, RULES
from tests.helpers import COMPILED, draw, same_bits

torch = pytest.importorskip("torch")

engines = pytest.mark.parametrize("engine", COMPILED)
rules = pytest.mark.parametrize("rule", RULES, ids=str)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
# What looks at whole leaves, with the sums of torch.
SUMS = ("centred", "simplex", "groups", "variation")
SHAPES = {"a": (1003,), "b": (7, 11), "c": (), "d": (0, 3)}
SHAPES |= {f"e{i}": (5, i) for i in range(1, 6)}


def tensor(x):
    """Return a tensor with the numbers of NumPy's array, a copy."""
    return torch.from_numpy(np.array(x))


def transposed(x):
    return tensor(x.T).T if x.ndim == 2 else tensor(x)


def strided(x):
    wide = torch.zeros((*x.shape, 2), dtype=tensor(x).dtype)
    wide[..., 0] = tensor(x)
    return wide[..., 0]


def needing(x):
    return tensor(x).requires_grad_()


def conjugated(x):
    return tensor(x.conj()).conj()


def negated(x):
    return torch._neg_view(tensor(-x))


LAYOUTS = {"plain": tensor, "transposed": transposed, "strided": strided}
LAYOUTS |= {"needing": needing, "conjugated": conjugated, "negated": negated}


def same(opt, other):
    """Assert that an Optimizer of tensors has the bits of one of NumPy's arrays."""
    for key, x in other.params.items():
        same_bits(opt.params[key].detach().resolve_conj().resolve_neg().numpy(), x)
        for name, value in other.state[key].items():
            if name == "step":
                assert opt.state[key][name] == value
            else:
                assert isinstance(opt.state[key][name], torch.Tensor)
                same_bits(opt.state[key][name].numpy(), value)


def both(params, rule, make=tensor, **options):
    """Return an Optimizer of tensors, and one of NumPy's arrays."""
    ours = {key: make(x) for key, x in params.items()}
    theirs = {key: x.copy() for key, x in params.items()}
    return fl.Optimizer(ours, rule, **options), fl.Optimizer(theirs, rule, **options)


def steps(opts, grads, make=tensor):
    """Step both with the same gradients, and compare all arrays."""
    opt, other = opts
    opt.step({key: None if g is None else make(g) for key, g in grads.items()})
    other.step(grads)
    same(opt, other)


def drawn(rng, dtype, shapes=SHAPES, special=True):
    return {key: draw(rng, shape, dtype, special) for key, shape in shapes.items()}


@engines
@rules
@dtypes
def test_tensors_get_the_bits_of_arrays(engine, rule, dtype):
    rng = np.random.default_rng(0)
    opts = both(drawn(rng, dtype, special=False), rule, engine=engine)
    assert opts[0].engine == opts[1].engine == engine
    for t in range(6):
        grads = drawn(rng, dtype)
        if t in (3, 5):
            grads["a"] = grads["e2"] = None
        steps(opts, grads)


@pytest.mark.parametrize("name", [*(name for name in AROUND if name not in SUMS), "nothing"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("how", ["plain", "accumulate", "skip", "raise"])
def test_tensors_get_the_bits_of_arrays_with_what_surrounds_a_rule(name, dtype, how):
    if dtype == "complex64" and name not in (*COMPLEX, "nothing"):
        pytest.skip("for real leaves")
    if dtype != "complex64" and name in ("modulus", "most"):
        pytest.skip("for complex leaves")
    if dtype == "complex64" and (name == "value, norm" or how == "accumulate"):
        pytest.skip("what comes before the last transform runs in torch, which rounds otherwise")
    rng = np.random.default_rng(1)
    shapes = {f"{i}": (3, 4) for i in range(6)}
    options = dict(AROUND.get(name, {}))
    if how == "accumulate":
        options["gradients"] = [gradients.Accumulate(2), *options.get("gradients", ())]
    elif how != "plain":
        options["nonfinite"] = how
    found = {
        key: _of_torch(x) if key in ("penalty", "constraint") else x for key, x in options.items()
    }
    params = drawn(rng, dtype, shapes, special=False)
    rule = fl.Adam(0.1, weight_decay=0.1)
    opt = fl.Optimizer({key: tensor(x) for key, x in params.items()}, rule, **found)
    other = fl.Optimizer({key: x.copy() for key, x in params.items()}, rule, **options)
    assert opt.engine == other.engine
    for t in range(6):
        grads = drawn(rng, dtype, shapes, special=False)
        if t == 3 and how == "skip":
            grads["1"][1, 1] = np.nan
        if t == 4:
            grads["2"] = None
        steps((opt, other), grads)
    assert opt.skipped == other.skipped == (how == "skip")


def _of_torch(part):
    # A constraint whose arrays are tensors.
    if isinstance(part, fl.Box) and isinstance(part.low, np.ndarray):
        return fl.Box(tensor(part.low))
    return fl.Support(tensor(part.mask)) if isinstance(part, fl.Support) else part


@engines
@pytest.mark.parametrize("of_params", LAYOUTS)
@pytest.mark.parametrize("of_grads", LAYOUTS)
def test_any_layout(engine, of_params, of_grads):
    for dtype in ("float32", "complex128"):
        rng = np.random.default_rng(2)
        params = drawn(rng, dtype, special=False)
        opts = both(params, fl.Adam(0.1, amsgrad=True), LAYOUTS[of_params], engine=engine)
        for _ in range(3):
            steps(opts, drawn(rng, dtype), LAYOUTS[of_grads])


@engines
def test_leaves_of_many_sizes(engine):
    rng = np.random.default_rng(3)
    shapes = {f"{i}": (n,) for i, n in enumerate([0, 1, 1000, 17_000, 300_000, *range(1, 40)])}
    opts = both(drawn(rng, "float32", shapes, special=False), fl.Adam(0.1), engine=engine)
    for _ in range(3):
        grads = drawn(rng, "float32", shapes)
        steps(opts, grads)
        kept = {key: tensor(g) for key, g in grads.items()}
        for _ in range(2):  # the same objects again, with other numbers
            for key, g in kept.items():
                g *= 2
                grads[key] = g.numpy().copy()
            steps(opts, grads, lambda x, kept=kept, grads=grads: _kept(kept, grads, x))


def _kept(kept, grads, x):
    return kept[next(key for key, g in grads.items() if g is x)]


def test_master_weights_and_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.ones(5, dtype=dtype)
        opt = fl.Optimizer(x, fl.Adam(0.1), master_weights=True)
        assert opt.engine == "eager"
        opt.step(torch.ones_like(x))
        assert opt.state["master"].dtype == torch.float32
    params = drawn(np.random.default_rng(4), "float16", special=False)
    for master in (False, True):
        opts = both(params, fl.Adam(0.1), engine="blocked", master_weights=master)
        for t in range(4):
            steps(opts, drawn(np.random.default_rng(t), "float16"))


def test_checkpoints_and_changes():
    rng = np.random.default_rng(5)
    shapes = dict.fromkeys("abcdef", (4, 3))
    opts = both(drawn(rng, "float32", shapes, special=False), fl.Adam(0.1))
    for _ in range(2):
        steps(opts, drawn(rng, "float32", shapes))
    for opt in opts:
        saved = opt.state_dict()
        opt.step({key: x * 2 for key, x in opt.params.items()})
        opt.load_state_dict(saved)
        opt.rule = fl.Adam(0.01, amsgrad=True)
        opt.transform(lambda x: x[:2], "a")
    shapes["a"] = (2, 3)
    steps(opts, drawn(rng, "float32", shapes))
    for opt, make in zip(opts, (tensor, np.array), strict=True):
        opt.state["b"]["m"] = make(np.full((4, 3), 0.5, "float32"))
        opt.params["c"] = opt.params["c"] * 2
    steps(opts, drawn(rng, "float32", shapes))


def test_sparse_rows():
    opts = both({"a": np.ones((5, 3))}, fl.Adam(0.1))
    values, rows = np.arange(6.0).reshape(2, 3), np.array([3, 1])
    opts[0].step({"a": fl.RowSparse(tensor(rows), tensor(values))})
    opts[1].step({"a": fl.RowSparse(rows, values)})
    same(*opts)
