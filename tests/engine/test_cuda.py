"""The CUDA engine: its kernels compiled by NVRTC, run by the host, and run by a GPU."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

import fallline as fl
from fallline.engine import _cache, cuda, eager
from fallline.engine._cuda_source import capacity, layout, source
from fallline.engine.trace import trace
from fallline.optimizer._fused import FusedRule
from tests import cuda_host
from tests.backends import AbsentError, make
from tests.cases import RULES
from tests.cuda_host import host_device, on_cupy  # noqa: F401
from tests.helpers import FUNCTIONS, draw, misaligned, pairs, rule_of, same_bits, strided

DTYPES = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
ARCHITECTURES = (80, 90, 100, 120)
rules = pytest.mark.parametrize("rule", RULES, ids=str)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def dtype_of(name):
    if name == "bfloat16":
        return pytest.importorskip("ml_dtypes").bfloat16
    return np.dtype(name)


# -- compiled, not run ----------------------------------------------------------------------------


def ptx(text, architecture):
    """Return the virtual assembly that NVRTC makes of a text."""
    nvrtc = pytest.importorskip("cupy", reason="CuPy is not installed").cuda.nvrtc
    try:
        nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"no NVRTC: {error}")
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*cuda.OPTIONS, f"--gpu-architecture={architecture}"))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    return nvrtc.getPTX(program).decode()


@rules
@dtypes
def test_ptx(rule, dtype):
    program = trace(rule, dtype)
    text = source(program, 32)
    body = text.partition("struct Table")[2]
    assert not re.search(r"(?<!\w)\d+\.|(?<!\w)\d+e-?\d", body)  # a literal would be double
    codes = {ptx(text, f"compute_{architecture}") for architecture in ARCHITECTURES}
    assert len(codes) == len(ARCHITECTURES)
    width = "v2.f64" if program.dtype == "float64" else "v4"
    itemsize = {name: np.dtype(name).itemsize for name in DTYPES if name != "bfloat16"}
    itemsize["bfloat16"] = 2
    vector = 16 // min(16, *(itemsize[x.dtype] for x in program.arrays))
    accesses = [itemsize[x.dtype] * vector // 16 for x in program.arrays]
    used = {line.args[0] for line in program.lines if line.op == "load"}
    for code in codes:
        body = code.replace("v2.b64", "v2.f64")
        wide = {
            "ld": sum(n for i, n in enumerate(accesses) if i in used),
            "st": sum(n for i, n in enumerate(accesses) if i != 1),
        }
        for way, count in wide.items():
            assert len(re.findall(rf"{way}\.global\.{re.escape(width[:2])}", body)) == count
        assert ".local" not in code
        assert "fma" not in code
        assert ".approx" not in code
        assert ".ftz" not in code
        assert program.dtype == "float64" or ".f64" not in code
        if dtype == "float16":
            assert "cvt.f32.f16" in code
            assert "cvt.rn.f16.f32" in code


AROUND = [
    FusedRule(fl.Adam(0.1), (fl.gradients.ClipByGlobalNorm(1.0),), guarded=True),
    FusedRule(fl.SGD(0.1, momentum=0.9), (fl.gradients.ClipByValue(1.0),), penalty=fl.L1(0.1)),
    FusedRule(fl.Adam(0.1), penalty=fl.ElasticNet(0.1), constraint=fl.Support(np.ones(3, bool))),
    FusedRule(fl.Adam(0.1), constraint=fl.MaxModulus(np.ones(3)), accumulates=True),
    FusedRule(fl.AdamW(0.1), rate=np.ones(3), decay=np.ones(3)),
]
composed = pytest.mark.parametrize("plan", AROUND, ids=lambda plan: plan.name)


@composed
@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_ptx_with_what_surrounds_a_rule(plan, dtype):
    program = trace(plan, dtype)
    code = ptx(source(program, 32), "compute_90")
    stored = sum(i not in (1,) and not x.single for i, x in enumerate(program.arrays))
    stored -= len(plan.arrays)
    found = len(re.findall(r"st\.global\.v", code))
    assert found >= stored
    for word in (".local", "fma", ".approx", ".ftz", ".f64"):
        assert word not in code


@composed
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_same_bits_with_what_surrounds_a_rule(host_device, plan, dtype):  # noqa: F811
    rng = np.random.default_rng(0)
    program = trace(plan, dtype)
    leaves = []
    for n in (1, 3, 1003):
        p = draw(rng, n, dtype, False)
        slots = [x for name, x in plan._init_leaf(p).items() if name != "step"]
        reads = [np.full(() if x.single else n, 0.5, "float32") for x in plan.reads]
        leaves.append([p, *slots, *reads])
    theirs = [[x.copy() for x in leaf] for leaf in leaves]
    starts = [leaf[0].copy() for leaf in leaves]
    grads = [draw(rng, leaf[0].shape, dtype) for leaf in leaves]
    mine = cuda.CudaRunner(program, [[on_cupy(x) for x in leaf] for leaf in leaves])
    other = eager.EagerRunner(plan, theirs)
    scalars = plan.scalars(3)
    mine.run(scalars, [0, 1, 2], [on_cupy(g) for g in grads], lambda: None)
    other.run(scalars, [0, 1, 2], grads, lambda: None)
    for a, b, before in zip(leaves, theirs, starts, strict=True):
        assert np.any(a[0] != before)
        for x, y in zip(a, b, strict=True):
            same_bits(x, y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_master_copies_notice_what_was_written_into_the_parameter(host_device, dtype):  # noqa: F811
    half = np.dtype(dtype if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16)
    rng = np.random.default_rng(0)
    plan = FusedRule(fl.Adam(0.1), master=True)
    program = trace(plan, dtype)
    assert "rounded" in str(program)
    master = draw(rng, 1003, "float32")
    with np.errstate(over="ignore"):
        p = master.astype(half)
    p[::7] = 2.5
    leaf = [p, *(draw(rng, 1003, "float32", False) ** 2 for _ in "mv"), master]
    theirs, g = [x.copy() for x in leaf], draw(rng, 1003, "float32", False).astype(half)
    mine = cuda.CudaRunner(program, [[on_cupy(x) for x in leaf]])
    scalars = plan.scalars(3)
    mine.run(scalars, [0], [on_cupy(g)], lambda: None)
    eager.EagerRunner(plan, [theirs]).run(scalars, [0], [g], lambda: None)
    for x, y in zip(leaf[1:], theirs[1:], strict=True):
        same_bits(x, y)
    np.testing.assert_array_equal(leaf[0].astype("float32"), theirs[0].astype("float32"))
    assert abs(leaf[3][0] - 2.5) < 1.0


def test_a_table_fits_into_the_arguments():
    for rule in RULES:
        for dtype in DTYPES:
            program = trace(rule, dtype)
            for limit in (cuda.OLD_ARGUMENTS, cuda.ARGUMENTS):
                n = capacity(program, limit)
                assert n >= cuda.FEW
                assert layout(program, n).itemsize <= limit
    text = source(trace(fl.Adam(), "complex128"), capacity(trace(fl.Adam(), "complex128"), 32_764))
    assert ".local" not in ptx(text, "compute_90")


def test_the_cache_of_machine_code(tmp_path, monkeypatch):
    ptx("", "compute_80")
    from cupy.cuda import nvrtc

    monkeypatch.setenv("FALLLINE_CACHE_DIR", str(tmp_path))
    text = source(trace(fl.SGD(), "float32"), 1)
    code = cuda.compiled(text, 90)
    assert code.startswith(b"\x7fELF")
    (path,) = (tmp_path / "cuda").iterdir()
    calls = []
    compile_ = nvrtc.compileProgram
    monkeypatch.setattr(nvrtc, "compileProgram", lambda *x: calls.append(x) or compile_(*x))
    assert cuda.compiled(text, 90) == code
    assert not calls
    for wrong in (b"", b"\x7fELF", path.read_bytes()[:-1]):
        path.write_bytes(wrong)
        assert cuda.compiled(text, 90) == code
        assert calls
        calls.clear()
    assert _cache.read_sealed(path) == code
    (tmp_path / "cuda").chmod(0o777)
    assert cuda.compiled(text, 90) == code
    assert calls
    # A device newer than the compiler gets assembly that its driver can compile.
    assert b".version" in cuda.compiled(text, 999)


@pytest.mark.parametrize("maximize", [False, True])
def test_same_bits_of_gradients_at_a_bound(host_device, maximize):  # noqa: F811
    box = fl.Box(np.ones(3), 1.5, mask_gradient=True)
    plan = FusedRule(fl.SGD(0.1, momentum=0.9, maximize=maximize), constraint=box)
    test_same_bits_with_what_surrounds_a_rule(host_device, plan, "float32")


# -- the same text, run by the host ----------------------------------------------------------------


def plain(x):
    return x.copy()


def compare(params, rule, gradients, engine="cuda", array=on_cupy):
    """Step arrays on the device and copies of them eagerly in NumPy, and compare all."""
    mine = {key: make(x) for key, (make, x) in params.items()}
    theirs = {key: x.copy() for key, (_, x) in params.items()}
    opt = fl.Optimizer({key: array(x) for key, x in mine.items()}, rule, engine=engine)
    reference = fl.Optimizer(theirs, rule, engine="eager")
    assert opt.engine == "cuda"
    for grads in gradients:
        opt.step({k: None if g is None else array(params[k][0](g)) for k, g in grads.items()})
        reference.step(grads)
    for key, x in theirs.items():
        same_bits(_host(opt.params[key]), x)
        for name, value in reference.state[key].items():
            if name == "step":
                assert opt.state[key]["step"] == value
            else:
                same_bits(_host(opt.state[key][name]), value)


def _host(x):
    return x.get() if cuda_available() else cuda_host.on_numpy(x)


def cuda_available():
    try:
        make("cupy")
    except AbsentError:
        return False
    return True


def problem(dtype, special=True):
    rng = np.random.default_rng(0)
    layouts = {
        "a": (plain, 2003), "b": (misaligned, 1001), "c": (plain, ()), "d": (plain, (0, 3)),
        "e": (plain, 3), "f": (np.asfortranarray, (6, 7)), "g": (strided, (5, 4)),
    }  # fmt: skip
    params = {k: (make, draw(rng, n, dtype, False)) for k, (make, n) in layouts.items()}
    gradients = [
        {k: draw(rng, x.shape, dtype, special) for k, (_, x) in params.items()} for _ in range(20)
    ]
    gradients[3]["a"] = gradients[5]["b"] = None
    return params, gradients


@rules
@dtypes
def test_same_bits_on_the_host(host_device, rule, dtype):  # noqa: F811
    params, gradients = problem(dtype_of(dtype))
    compare(params, rule, gradients)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_on_the_host(host_device, function, dtype):  # noqa: F811
    x, g = pairs(dtype, function)
    compare({"x": (plain, x)}, rule_of(FUNCTIONS[function]), [{"x": g}])


def test_one_launch_for_many_leaves(host_device):  # noqa: F811
    rng = np.random.default_rng(1)
    for count, expected in ((3, 1), (300, 1), (1500, 3)):
        leaves = [rng.standard_normal(n).astype("float32") for n in rng.integers(1, 50, count)]
        params = {f"{i}": (plain, x) for i, x in enumerate(leaves)}
        gradients = [{k: draw(rng, x.shape, "float32") for k, (_, x) in params.items()}] * 2
        cuda_host.launches.clear()
        compare(params, fl.Adam(0.1), gradients)
        assert len(cuda_host.launches) == 2 * expected


def test_blocks_and_chunks(host_device):  # noqa: F811
    rng = np.random.default_rng(2)
    sizes = [1, 15, 16, 17, 0, 255, 256, 257, 1000]
    for threads, chunk in ((32, 16), (64, 256), (256, 4096)):
        program = trace(fl.Adam(0.1), "float32")
        leaves = [[draw(rng, n, "float32", False) for _ in range(3)] for n in sizes]
        for leaf in leaves:
            np.abs(leaf[2], out=leaf[2])
        expected = [[x.copy() for x in leaf] for leaf in leaves]
        grads = [draw(rng, n, "float32") for n in sizes]
        which = list(range(len(sizes)))
        scalars = fl.Adam(0.1).scalars(1)
        runner = cuda.CudaRunner(
            program, [[on_cupy(x) for x in leaf] for leaf in leaves], threads=threads, chunk=chunk
        )
        runner.run(scalars, which, [on_cupy(g) for g in grads], lambda: None)
        from fallline.engine import eager

        eager.EagerRunner(fl.Adam(0.1), expected).run(scalars, which, grads, lambda: None)
        for a, b in zip(leaves, expected, strict=True):
            for x, y in zip(a, b, strict=True):
                same_bits(x, y)
    assert cuda_host.launches[0] == (sum(-(-n // 16) for n in sizes), 32, 0)


def test_gradients_known_again_and_the_parameter_itself(host_device):  # noqa: F811
    x, y = np.linspace(-1, 1, 50), np.linspace(-1, 1, 50)
    device = on_cupy(x)
    opt, reference = fl.Optimizer(device, fl.Adam(0.1)), fl.Optimizer(y, fl.Adam(0.1))
    g = np.cos(x)
    ours = on_cupy(g)
    for t in range(4):
        g += t  # written in place: the same objects, other values
        opt.step(ours)
        reference.step(g)
    opt.step(device)
    reference.step(y)
    other = np.sin(x)
    opt.step(on_cupy(other))
    reference.step(other)
    same_bits(x, y)


def test_leaves_are_grouped_by_device(host_device):  # noqa: F811
    arrays = [np.ones(4), np.ones(5), np.ones(6)]
    params = [on_cupy(x, device) for x, device in zip(arrays, (0, 1, 0), strict=True)]
    opt = fl.Optimizer(params, fl.SGD(0.5))
    devices = (0, 1, 0)
    opt.step([on_cupy(np.ones(x.size), i) for x, i in zip(arrays, devices, strict=True)])
    assert [device for _, _, device in cuda_host.launches] == [0, 1]
    for x in arrays:
        np.testing.assert_array_equal(x, 0.5)
    with pytest.raises(ValueError, match=r"grads\[1\]: device"):
        opt.step([on_cupy(np.ones(n)) for n in (4, 5, 6)])


def test_a_refused_kernel_changes_nothing(host_device, monkeypatch):  # noqa: F811
    x = np.ones(4)
    opt = fl.Optimizer(on_cupy(x), fl.SGD(0.5))

    def refuse(*_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(cuda, "kernel", refuse)
    with pytest.raises(RuntimeError, match="no compiler"):
        opt.step(on_cupy(np.ones(4)))
    assert opt.step_count == 0
    monkeypatch.setattr(cuda, "kernel", cuda_host.kernel)
    opt.step(on_cupy(np.ones(4)))
    np.testing.assert_array_equal(x, 0.5)


def test_engines_that_cannot(host_device, monkeypatch):  # noqa: F811
    with pytest.raises(
        TypeError, match=r"params\['a'\]: engine 'cuda' runs CuPy arrays, got numpy"
    ):
        fl.Optimizer({"a": np.ones(3)}, fl.Adam(), engine="cuda")
    x = on_cupy(np.ones(3))
    for engine in ("numba", "blocked"):
        with pytest.raises(TypeError, match=f"'{engine}' runs NumPy arrays, got cupy"):
            fl.Optimizer(x, fl.Adam(), engine=engine)
    monkeypatch.setattr(cuda, "capability", lambda device: 61)
    with pytest.raises(TypeError, match=r"compute capability 7\.0"):
        fl.Optimizer(x, fl.Adam(), engine="cuda")
    assert fl.Optimizer(x, fl.Adam()).engine == "eager"


# -- run by a GPU --------------------------------------------------------------------------------


@pytest.fixture
def cupy(request):
    """CuPy, where it has a device."""
    backend = request.getfixturevalue("cuda_backend")
    return backend.xp


@pytest.mark.gpu
@rules
@dtypes
def test_same_bits_on_the_gpu(cupy, rule, dtype):
    params, gradients = problem(dtype_of(dtype))

    def array(x):
        source = cupy.asarray(x)
        if not x.flags.aligned:
            y = cupy.empty(x.size + 1, x.dtype)[1:]
        elif x.flags.forc:
            y = cupy.empty_like(source)
        else:
            y = cupy.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
        y[...] = source
        return y

    compare(params, rule, gradients, array=array)


@pytest.mark.gpu
def test_a_step_follows_the_current_stream_and_waits_for_nothing(cupy):
    x = cupy.zeros(1 << 24, "float32")
    g = cupy.ones_like(x)
    opt = fl.Optimizer(x, fl.SGD(1.0))
    opt.step(g)
    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        for _ in range(50):
            opt.step(g)
        event = stream.record()
        assert not event.done
    stream.synchronize()
    assert float(x[0]) == -51.0


@pytest.mark.gpu
def test_threads_with_a_device_each(cupy):
    count = cupy.cuda.runtime.getDeviceCount()
    found = [None] * max(count, 2)

    def work(i):
        with cupy.cuda.Device(i % count):
            x = cupy.linspace(-1, 1, 100_000)
        opt = fl.Optimizer(x, fl.Adam(0.1))
        before = cupy.cuda.Device().id
        for t in range(10):
            with x.device:
                g = cupy.full_like(x, t)
            opt.step(g)
        found[i] = before == cupy.cuda.Device().id, x.get()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for restored, x in found:
        assert restored
        same_bits(x, found[0][1])
