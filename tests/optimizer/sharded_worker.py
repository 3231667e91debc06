"""One of the processes of test_sharded: python -m tests.optimizer.sharded_worker RANK WORLD FILE"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
import torch.distributed
from torch.distributed import tensor

import fallline as fl
from tests.helpers import rule_of


def numbers(seed):
    """Return arrays that divide unevenly among two processes, one of them in a single row."""
    rng = np.random.default_rng(seed)
    return {"w": rng.standard_normal((5, 3)), "b": rng.standard_normal(1), "c": np.ones((2, 4))}


def plain_tree(seed):
    return {name: torch.from_numpy(x) for name, x in numbers(seed).items()}


def tree(mesh, seed, placements):
    spread = {"w": tensor.Shard(0), "b": tensor.Shard(0), "c": tensor.Shard(1), **placements}
    return {
        name: tensor.distribute_tensor(torch.from_numpy(x), mesh, [spread[name]])
        for name, x in numbers(seed).items()
    }


OPTIONS = {
    "Adam": (fl.Adam(0.1), {}),
    "AMSGrad": (fl.AdamW(0.1, amsgrad=True), {}),
    "momentum": (fl.SGD(0.1, momentum=0.9, nesterov=True), {}),
    "global norm": (fl.SGD(0.1), {"gradients": [fl.gradients.ClipByGlobalNorm(0.5)]}),
    "two norms": (
        fl.SGD(0.1),
        {"gradients": [fl.gradients.ClipByNorm(0.7), fl.gradients.ClipByGlobalNorm(0.5)]},
    ),
    "accumulate": (fl.Adam(0.1), {"gradients": [fl.gradients.Accumulate(2)]}),
    "skip": (fl.Adam(0.1), {"nonfinite": "skip"}),
    "around": (fl.Adam(0.1), {"penalty": fl.L1(0.1), "constraint": fl.Box(-0.5, 0.8)}),
}


def steps_are_those_of_one_process(mesh):
    for placements in ({}, {"w": tensor.Replicate()}):
        for name, (rule, options) in OPTIONS.items():
            params, plain = tree(mesh, 0, placements), plain_tree(0)
            held = {key: x.to_local() for key, x in params.items()}
            opt, own = (fl.Optimizer(x, rule, **options) for x in (params, plain))
            for seed in range(1, 5):
                slopes, theirs = tree(mesh, seed, placements), plain_tree(seed)
                if name == "skip" and seed == 3:  # in the part of one process only
                    theirs["w"][4, 1] = np.nan
                    slopes["w"] = tensor.distribute_tensor(
                        theirs["w"], mesh, slopes["w"].placements
                    )
                assert opt.step(slopes) is params
                own.step(theirs)
            assert opt.skipped == own.skipped == (name == "skip")
            for key, x in params.items():
                assert x.to_local().data_ptr() == held[key].data_ptr()
                np.testing.assert_allclose(x.full_tensor(), plain[key], rtol=1e-12, atol=1e-12)
                for slot, value in opt.state[key].items():
                    if slot != "step":
                        assert value.placements == x.placements
                        whole = value.full_tensor()
                        np.testing.assert_allclose(whole, own.state[key][slot], atol=1e-12)


def a_leaf_that_every_process_has_whole_may_stand_beside(mesh):
    found = []
    for params, slopes in ((tree(mesh, 0, {}), tree(mesh, 1, {})), (plain_tree(0), plain_tree(1))):
        params["c"], slopes["c"] = plain_tree(0)["c"], plain_tree(1)["c"]
        clip = fl.gradients.ClipByGlobalNorm(0.5)
        fl.Optimizer(params, fl.SGD(0.1), gradients=[clip]).step(slopes)
        found.append(params)
    np.testing.assert_allclose(found[0]["w"].full_tensor(), found[1]["w"], rtol=1e-12)
    np.testing.assert_allclose(found[0]["c"], found[1]["c"], rtol=1e-12)


def a_formula_sees_the_part_that_is_here(mesh):
    seen = []
    rule = rule_of(lambda xp, s, p, g: seen.extend([type(p), type(g)]) or p - g)
    params = tree(mesh, 0, {})
    fl.Optimizer(params, rule).step(tree(mesh, 1, {}))
    assert seen == [torch.Tensor] * 6


def a_snapshot_goes_on(mesh):
    first, other = tree(mesh, 0, {}), tree(mesh, 5, {})
    opts = [fl.Optimizer(x, fl.Adam(0.1)) for x in (first, other)]
    opts[0].step(tree(mesh, 1, {}))
    opts[1].load_state_dict(opts[0].state_dict())
    for opt in opts:
        opt.step(tree(mesh, 2, {}))
    for key, x in first.items():
        assert torch.equal(x.to_local(), other[key].to_local())
    plain = fl.Optimizer(plain_tree(0), fl.Adam(0.1))
    with pytest.raises(ValueError, match=r"params\['b'\]: layout is that of one process"):
        opts[0].load_state_dict(plain.state_dict())
    average = fl.EMA(first, 0.5)
    average.update()
    with average.applied():
        pass
    np.testing.assert_allclose(average.params["w"].full_tensor(), first["w"].full_tensor())


def a_watch_sees_the_whole(mesh):
    for placements in ({}, {"w": tensor.Replicate()}):
        watches = [fl.stop.ParameterChange(x).start() for x in (0.1, 1e3) for _ in range(2)]
        watches += [fl.stop.GradientNorm(x).start() for x in (0.5, 10.0) for _ in range(2)]
        for seed in (1, 2):
            params, plain = tree(mesh, seed, placements), plain_tree(seed)
            for i, watch in enumerate(watches):
                given = plain if i % 2 else params
                watch(gradient=given, params=given)
        for one, other in zip(watches[::2], watches[1::2], strict=True):
            assert one.verdict == other.verdict
            assert one.calls == other.calls
    params = tree(mesh, 0, {})
    opt, average = fl.Optimizer(params, fl.SGD(0.1)), fl.EMA(params, 0.5)
    average.update()
    with pytest.raises(RuntimeError, match=r"params\['.'\]: was changed"), average.applied():
        opt.step(tree(mesh, 1, {}))


def what_would_be_wrong_is_refused(mesh):
    params = tree(mesh, 0, {})
    for rule, options in (
        (fl.LAMB(), {}), (fl.LARS(), {}), (fl.Adafactor(), {}), (fl.Muon(), {}),
        (fl.SGD(), {"gradients": [fl.gradients.Centralize()]}),
        (fl.SGD(), {"constraint": fl.Simplex()}),
        (fl.SGD(), {"constraint": fl.Box(torch.zeros((5, 3), dtype=torch.float64), 1.0)}),
        (fl.SGD(), {"penalty": fl.TotalVariation(0.1)}),
        (fl.SGD(), {"penalty": fl.GroupL1(0.1)}),
    ):  # fmt: skip
        what = next(iter(options.values()), rule)
        what = type(what[0] if isinstance(what, list) else what).__name__
        with pytest.raises(
            TypeError, match=rf"params\['w'\]: is a DTensor, and {what} looks at whole leaves"
        ):
            fl.Optimizer({"w": params["w"]}, rule, **options)
    opt = fl.Optimizer(params, fl.Adam(0.1))
    before = {key: x.to_local().clone() for key, x in params.items()}
    slopes = tree(mesh, 1, {})
    for wrong, message in (
        (torch.from_numpy(numbers(1)["w"]), r"grads\['w'\]: layout is that of one process, exp"),
        (slopes["w"].redistribute(placements=[tensor.Replicate()]), r"layout is \(Replicate\(\),"),
        (tensor.DTensor.from_local(slopes["w"].full_tensor(), mesh, [tensor.Partial()]), "Partial"),
    ):
        with pytest.raises(ValueError, match=message):
            opt.step({**slopes, "w": wrong})
    rows = fl.RowSparse(torch.tensor([0]), torch.ones((1, 3), dtype=torch.float64))
    with pytest.raises(
        TypeError, match=r"grads\['w'\]: is RowSparse, and the parameter is a DTensor"
    ):
        opt.step({**slopes, "w": rows})
    partial = tensor.DTensor.from_local(torch.ones(2), mesh, [tensor.Partial()])
    with pytest.raises(ValueError, match="params: its parts are terms of a sum"):
        fl.Optimizer(partial, fl.SGD())
    with pytest.raises(
        TypeError, match=r"params\['b'\]: is a DTensor, .*torch.distributed.checkpoint"
    ):
        opt.save("never.npz")
    with pytest.raises(
        TypeError, match=r"x0\['b'\]: is a DTensor, expected an array of one process"
    ):
        fl.minimize(lambda x: (0.0, x), params)
    local = params["w"].to_local()
    with pytest.raises(ValueError, match="shares memory with"):
        fl.Optimizer({"w": params["w"], "x": local}, fl.SGD())
    for key, x in params.items():
        assert torch.equal(x.to_local(), before[key])


def parameters_of_fsdp(mesh):
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    nets = [torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 1)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for layer in nets[1]:
        fully_shard(layer, mesh=mesh)
    fully_shard(nets[1], mesh=mesh)
    theirs = torch.optim.Adam(nets[0].parameters(), lr=0.1)
    params = dict(nets[1].named_parameters())
    opt = fl.Optimizer(params, fl.Adam(0.1))
    x = torch.arange(12.0).reshape(4, 3) / 10
    for _ in range(5):
        for net in nets:
            net.zero_grad()
            (net(x) ** 2).mean().backward()
        theirs.step()
        opt.step({name: p.grad for name, p in params.items()})
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_allclose(q.full_tensor().detach(), p.detach(), rtol=1e-4, atol=1e-5)


def main(rank, world, path):
    warnings.simplefilter("error")
    store = torch.distributed.FileStore(path, world)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    mesh = torch.distributed.init_device_mesh("cpu", (world,))
    for check in (
        steps_are_those_of_one_process, a_leaf_that_every_process_has_whole_may_stand_beside,
        a_formula_sees_the_part_that_is_here, a_snapshot_goes_on, a_watch_sees_the_whole,
        what_would_be_wrong_is_refused, parameters_of_fsdp,
    ):  # fmt: skip
        check(mesh)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
