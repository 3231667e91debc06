"""Files of Optimizers: they come back bit for bit, or not at all."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import fallline as fl
from fallline import gradients
from tests.helpers import ROOT, bits, draw, misaligned, strided

VERSION_1 = ROOT / "tests" / "data" / "checkpoint-version-1.npz"


def arrays(seed=0):
    """Return parameters of every dtype and layout."""
    rng = np.random.default_rng(seed)
    found = {
        "c": draw(rng, (6, 7), "float64"),
        "f": np.asfortranarray(draw(rng, (6, 7), "float32")),
        "strided": strided(draw(rng, (5, 6), "complex64")),
        "misaligned": misaligned(draw(rng, (5, 6), "complex128")),
        "swapped": draw(rng, 30, "float64").astype(">f8"),
        "half": draw(rng, 30, "float16"),
        "scalar": np.asarray(0.5),
        "empty": np.zeros((0, 3)),
        "nested": [draw(rng, 4, "float64", False), None, (np.asarray(-0.0),)],
    }
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return found
    return {**found, "bfloat16": draw(rng, 30, "float32").astype(bfloat16)}


def optimizer(params, **options):
    return fl.Optimizer(params, fl.Adam(0.1, amsgrad=True), **options)


def leaves(opt):
    """Return all arrays of an Optimizer, and the counts."""
    found = [opt.step_count, opt.skipped]
    for leaf in opt._bound.leaves:
        if leaf.p is not None:
            found += [leaf.p, *(x for x in leaf.state.data.values())]
    return found


def same(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        if isinstance(x, int):
            assert x == y
        elif x.dtype.name == "bfloat16":
            np.testing.assert_array_equal(x.view("u2"), y.view("u2"))
        else:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(bits(x), bits(y))


def grads(params, seed):
    import optree

    rng = np.random.default_rng(seed)
    return optree.tree_map(lambda x: draw(rng, x.shape, x.dtype, False), params)


@pytest.mark.parametrize(
    "options",
    [{}, {"master_weights": True, "gradients": [gradients.Accumulate(2)], "nonfinite": "skip"}],
)
def test_any_layout_comes_back_bit_for_bit_and_goes_on(tmp_path, options):
    path = tmp_path / "run.npz"
    one = optimizer(arrays(), **options)
    for seed in range(3):
        one.step(grads(one.params, seed))
    one.save(path)
    other = optimizer(arrays(1), **options)
    strides = [x.strides for x in leaves(other)[2:] if not isinstance(x, int)]
    other.load(str(path))
    same(one, other)
    assert strides == [x.strides for x in leaves(other)[2:] if not isinstance(x, int)]
    for seed in range(3, 6):
        for opt in (one, other):
            opt.step(grads(opt.params, seed))
    same(one, other)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_one_library_is_loaded_by_another(backend, tmp_path):
    if backend.name == "numpy-readonly":
        pytest.skip("an Optimizer writes")
    rng = np.random.default_rng(0)
    start = {"a": rng.standard_normal((2, 3)), "z": rng.standard_normal(3) + 1j}
    g = {"a": rng.standard_normal((2, 3)), "z": rng.standard_normal(3) - 1j}
    theirs = fl.Optimizer(backend.tree(start), fl.Adam(0.1))
    theirs.step(backend.tree(g))
    theirs.save(tmp_path / "run.npz")
    ours = fl.Optimizer({key: np.zeros_like(x) for key, x in start.items()}, fl.Adam(0.1))
    ours.load(tmp_path / "run.npz")
    for key in start:
        np.testing.assert_array_equal(ours.params[key], backend.numpy(theirs.params[key]))
    ours.step(g)
    ours.save(tmp_path / "run.npz")
    theirs.load(tmp_path / "run.npz")
    for key in start:
        np.testing.assert_array_equal(ours.params[key], backend.numpy(theirs.params[key]))
        assert theirs.state[key]["step"] == 2


def test_bfloat16_of_torch_comes_back(tmp_path):
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1, 1, 7, dtype=torch.bfloat16)
    opt = fl.Optimizer(x, fl.SGD(0.1))
    opt.save(tmp_path / "run.npz")
    y = torch.zeros(7, dtype=torch.bfloat16)
    fl.Optimizer(y, fl.SGD(0.1)).load(tmp_path / "run.npz")
    assert torch.equal(x, y)


def test_schedules_that_remember_are_saved(tmp_path):
    def make():
        plateau = fl.schedules.ReduceOnPlateau(1.0, patience=0)
        return plateau, fl.Optimizer(np.ones(2), fl.SGD(plateau))

    plateau, opt = make()
    for metric in (1.0, 1.0, 1.0):
        plateau.update(metric)
        opt.step(np.ones(2))
    opt.save(tmp_path / "run.npz")
    other, twin = make()
    twin.load(tmp_path / "run.npz")
    assert other(0) == plateau(0) < 1.0
    assert other.state_dict() == plateau.state_dict()


# -- a file of version 1, which every later version must read ------------------------------


def first():
    """Return the Optimizer whose file is kept, as the end of this file wrote it."""
    params = {"w": np.arange(6.0, dtype="float32").reshape(2, 3), "z": [np.ones(2, complex), None]}
    opt = fl.Optimizer(params, {"w": fl.Adam(0.1), "z": fl.SGD(0.1, momentum=0.9)})
    opt.step({"w": np.ones((2, 3), "float32"), "z": [np.full(2, 1j), None]})
    return opt


def test_version_1_is_read():
    expected = first()
    opt = first()
    opt.step({"w": np.ones((2, 3), "float32"), "z": [np.full(2, 1j), None]})
    opt.load(VERSION_1)
    same(opt, expected)
    with np.load(VERSION_1, allow_pickle=False) as file:  # readable without fallline
        header = json.loads(file["header"].tobytes())
        row = header["leaves"][0]
        assert row["rule"] == "Adam(learning_rate=0.1)"
        np.testing.assert_array_equal(file[row["params"]], expected.params["w"])


# -- what must not be taken -----------------------------------------------------------------


def repacked(path, change):
    """Rewrite the members of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(x, **how):
    import io

    file = io.BytesIO()
    np.lib.format.write_array(file, x, **how)
    return file.getvalue()


def header_of(members):
    data = members["header.npy"]
    return json.loads(data[data.index(b"{\n") :])


def with_header(members, header):
    import hashlib

    text = json.dumps(header).encode()
    members["header.npy"] = npy(np.frombuffer(text, "u1"))
    members["seal.npy"] = npy(np.frombuffer(hashlib.sha256(text).digest(), "u1"))


class Evil:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def damaged(path):
    data = bytearray(path.read_bytes())
    at = data.index(b"params/w.npy") + 150
    data[at] ^= 1
    path.write_bytes(data)


def changed_array(path):
    def change(members):
        members["state/w/m.npy"] = npy(np.full((2, 3), 7, "float32"))

    repacked(path, change)


def changed_header(path):
    def change(members):
        members["header.npy"] = members["header.npy"].replace(
            b'"step_count": 1', b'"step_count": 2'
        )

    repacked(path, change)


def newer(path):
    repacked(path, lambda m: with_header(m, {**header_of(m), "version": 3}))


def pickled_array(path):
    evil = np.asarray([Evil()], object)
    repacked(path, lambda m: m.update({"state/w/m.npy": npy(evil, allow_pickle=True)}))


def pickled_header(path):
    evil = np.asarray([Evil()], object)
    repacked(path, lambda m: m.update({"header.npy": npy(evil, allow_pickle=True)}))


def only_a_pickle(path):
    path.write_bytes(pickle.dumps(Evil()))


def of_others(path):
    np.savez(path, x=np.ones(3))


def of_another_kind(path):
    repacked(path, lambda m: with_header(m, {**header_of(m), "kind": "run"}))


def huge(path):
    def change(members):
        header = header_of(members)
        for entry in header["arrays"].values():
            entry["shape"] = [1 << 40]
        with_header(members, header)

    repacked(path, change)


BAD = [
    (truncated, "not a checkpoint of fallline, or damaged"),
    (damaged, "damaged|altered"),
    (changed_array, "its array 'state/w/m' was altered"),
    (changed_header, "its header was altered"),
    (newer, "has version 3, newer than 2"),
    (pickled_array, "its array 'state/w/m' is pickled, which is never loaded"),
    (pickled_header, "its array 'header' is pickled, which is never loaded"),
    (only_a_pickle, "not a checkpoint of fallline"),
    (of_others, "not a checkpoint of fallline"),
    (of_another_kind, "it is not a checkpoint"),
    (huge, r"params\['w'\]: shape is \(1099511627776,\)"),
]


@pytest.mark.parametrize(("spoil", "words"), BAD, ids=lambda x: getattr(x, "__name__", ""))
def test_bad_files_change_nothing(spoil, words, tmp_path):
    path = tmp_path / "run.npz"
    opt = first()
    opt.save(path)
    spoil(path)
    before = pickle.dumps(opt.state_dict())
    with pytest.raises(ValueError, match=words):
        opt.load(path)
    assert pickle.dumps(opt.state_dict()) == before
    opt.step({"w": None, "z": [None, None]})


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    first().save(path)
    w, z = np.zeros((2, 3), "float32"), [np.ones(2, complex), None]
    rule = {"w": fl.Adam(0.1), "z": fl.SGD(0.1, momentum=0.9)}
    for params, rules, error, words in (
        ({"w": w}, rule["w"], ValueError, r"has params\['z'\]\[0\], params\['z'\]\[1\] besides"),
        ({"w": w.astype("float64"), "z": z}, rule, TypeError, r"params\['w'\]: dtype is float32"),
        ({"w": w[:1], "z": z}, rule, ValueError, r"params\['w'\]: shape is \(2, 3\)"),
        ({"w": w, "z": z}, fl.SGD(0.1), ValueError, r"rule\['w'\]: is SGD, but .* with Adam"),
        (
            {"w": w, "z": z},
            {**rule, "w": fl.Adam(0.1, amsgrad=True)},
            ValueError,
            r"state\['w'\] in .*: slots is m, v, expected m, v, vmax",
        ),
        ({"w": w, "z": [None, None]}, rule, ValueError, r"params\['z'\]\[0\]: in .* an array"),
    ):
        with pytest.raises(error, match=words):
            fl.Optimizer(params, rules).load(path)
    with pytest.raises(FileNotFoundError):
        first().load(tmp_path / "nowhere.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    from fallline._arrays import _files

    path = tmp_path / "run.npz"
    opt = first()
    opt.save(path)
    data = path.read_bytes()
    monkeypatch.setattr(_files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        opt.save(path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


KILLS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import fallline as fl

path = Path(sys.argv[1])
x = np.zeros(20_000)
opt = fl.Optimizer(x, fl.Adam(0.1), engine="blocked")
opt.save(path)
rng, steps, torn, kills = np.random.default_rng(0), set(), 0, 0
while kills < 50 or (kills < 500 and not (len(steps) > 5 and torn > 1)):  # more on a busy machine
    kills += 1
    before = set(path.parent.iterdir())
    child = os.fork()
    if child == 0:
        while True:
            opt.step(np.ones(20_000))
            opt.save(path)
    time.sleep(rng.uniform(0.001, 0.04))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    opt.load(path)  # whole, whatever was under way
    assert opt.step_count == opt.state["step"]
    assert (opt.state["m"] == opt.state["m"][0]).all()
    steps.add(opt.step_count)
    torn += len(set(path.parent.iterdir()) - before)
print(len(steps), torn)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_leaves_a_whole_file(tmp_path):
    script = tmp_path / "kills.py"
    script.write_text(KILLS)
    (tmp_path / "runs").mkdir()
    run = subprocess.run(
        [sys.executable, script, tmp_path / "runs" / "run.npz"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    steps, torn = map(int, run.stdout.split())
    assert steps > 5  # they got on
    assert torn > 1  # and were killed while they wrote


if __name__ == "__main__":
    VERSION_1.parent.mkdir(exist_ok=True)
    first().save(VERSION_1)
