#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Tasks of a contributor: `nox -l` lists them, `nox` runs what a pull request needs."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT, max_version="3.14")
RUNNERS = ("pytest", "hypothesis")
FAST = ("-m", "not slow")


def group(name: str, *starts: str) -> list[str]:
    """Return the requirements of a dependency group, or those that begin with some names."""
    lines = nox.project.dependency_groups(PROJECT, name)
    return [line for line in lines if line.startswith(starts or "")]


def lowest(*extras: str) -> list[str]:
    """Return the dependencies, and those of some extras, each at its lower bound."""
    optional = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *(x for extra in extras for x in optional[extra])]
    return [line.replace(">=", "==") for line in lines]


def require_cuda(session: nox.Session) -> None:
    """Skip the session where there is no CUDA device, or fail if one is required."""
    found = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    ).stdout.startswith(b"GPU")
    if not found:
        required = os.environ.get("FALLLINE_REQUIRE_CUDA") == "1"
        (session.error if required else session.skip)("no CUDA device")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and docstrings."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("numpydoc", "lint", *map(str, sorted(Path("src").rglob("*.py"))))


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests with all libraries of the group "test"."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", "tests", *session.posargs)


@nox.session
def strict(session: nox.Session) -> None:
    """Run the tests of array_api_strict where it is the only other array library."""
    session.install("-e", ".", *group("test", "array-api-strict", *RUNNERS))
    options = ["--backend=array_api_strict", "-k", "array_api_strict", *FAST]
    session.run("pytest", "tests", *options, *session.posargs)


@nox.session
def minimum(session: nox.Session) -> None:
    """Run the tests with the oldest supported dependencies, and no optional ones."""
    session.install("-e", ".", *lowest(), *group("test", *RUNNERS))
    session.run("pytest", "tests", "--backend=numpy", *FAST, *session.posargs)


@nox.session
def doctest(session: nox.Session) -> None:
    """Run the examples of the docstrings, of the README and of the guides."""
    session.install("-e", ".[numba,sklearn,plot]", *group("test", *RUNNERS))
    # Without the project's options, of which one passes over modules that cannot be imported.
    options = ["-o", "addopts=", "-ra", "--strict-markers", "--doctest-modules"]
    session.run("pytest", *options, "src", "tests/public/test_docs.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation without the gallery's pictures; warnings are errors."""
    session.install("-e", ".", *group("docs"))
    sphinx(session, "-D", "plot_gallery=0")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, install it elsewhere and run its self-test there."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    session.install(str(wheel))
    session.chdir(folder)
    session.run("python", "-c", "import fallline as fl; print(fl.__version__, fl.__file__)")
    session.run("python", "-m", "fallline.selftest")


@nox.session(default=False)
def gallery(session: nox.Session) -> None:
    """Renew the tables, run the examples and build the whole documentation, into docs/_build."""
    session.install("-e", ".", *group("docs"), *group("test", "torch"))
    session.run("python", "docs/tables.py")
    sphinx(session)


def sphinx(session: nox.Session, *options: str) -> None:
    """Build the documentation with warnings as errors."""
    session.run("sphinx-build", "-W", "--keep-going", *options, "docs", "docs/_build")


# What the rows of the matrix install from the group "test".
BACKENDS = {
    "numpy": ["numba", "ml-dtypes", "cupy", "nvidia"],
    "array_api_strict": ["array-api-strict", "scikit-learn"],
    "torch": ["torch", "expecttest"],
    "jax": ["jax", "optax"],
}
ROWS = [
    *(nox.param("python", python, id=f"python-{python}") for python in PYTHONS),
    *(nox.param(name, None, id=name) for name in (*BACKENDS, "cupy", "dpnp", "newest-numpy")),
    *(nox.param(name, PYTHONS[0], id=name) for name in ("lowest", "lowest-torch")),
]


@nox.session(default=False)
@nox.parametrize(("row", "python"), ROWS)
def matrix(session: nox.Session, row: str) -> None:
    """Run the tests for every backend and Python, the newest NumPy and the lowest versions."""
    if row == "dpnp":
        dpnp(session)
        return
    backends = [row]
    if row in BACKENDS:
        needs = group("test", *BACKENDS[row])
    elif row == "cupy":
        require_cuda(session)
        needs = PROJECT["project"]["optional-dependencies"]["cuda12"]
    elif row == "python":
        needs = group("test", "numba", "ml-dtypes", "array-api-strict", "scikit-learn")
        backends = ["numpy", "array_api_strict"]
    elif row == "newest-numpy":
        needs, backends = ["numpy>=2.dev0"], ["numpy"]  # pre-releases too
    elif row == "lowest":
        needs = [
            *lowest("numba", "jax", "plot", "progress", "sklearn"),
            "scipy==1.14",
            "pyparsing<3.3",  # matplotlib 3.9 warns with newer ones
        ]
        backends = ["numpy", "jax"]
    else:
        needs, backends = lowest("torch"), ["torch"]
    options, env = [f"--backend={name}" for name in backends], {}
    if row == "lowest":  # scikit-learn 1.6 gives its checks to pytest one by one, and asks SciPy
        options += ["-W", "ignore::pytest.PytestRemovedIn10Warning"]
        env = {"SCIPY_ARRAY_API": "1"}
    elif row == "lowest-torch":  # its arrays only: the oracles need the newest
        options += ["-k", "torch and not (oracle or from_torch or torch_s)"]
    session.install("-e", ".", *needs, *group("test", *RUNNERS))
    session.run("pytest", "tests", *options, *session.posargs, env=env)


@nox.session(default=False)
def dpnp(session: nox.Session) -> None:
    """Run the tests of dpnp, and no others, on an OpenCL device made of the processor.

    dpnp counts references in host tasks that wait for the interpreter's lock, and some calls of
    oneMKL wait for a host task while they hold it: with a thread for each core the tests may never
    end. With 256 threads they were not seen to; if they should, they fail after five minutes.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        session.skip("dpnp and its OpenCL device have wheels for Linux on x86-64")
    session.install("-e", ".[sklearn]", *group("test", *RUNNERS), *group("dpnp"))
    libraries = Path(session.virtualenv.location).resolve() / "lib"
    session.run(
        "pytest", "tests", "--backend=dpnp", "-k", "dpnp",
        "-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true",
        *session.posargs,
        env={
            "LD_LIBRARY_PATH": str(libraries),
            "OCL_ICD_FILENAMES": str(libraries / "libintelocl.so"),
            "SYCL_QUEUE_THREAD_POOL_SIZE": "256",
            "FALLLINE_REQUIRE_DPNP": "1",
        },
    )  # fmt: skip


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Run the tests that need a CUDA device; fails where there is none."""
    require_cuda(session)
    session.install("-e", ".[cuda12]", *group("test"))
    session.run("pytest", "--backend=cupy", env={"FALLLINE_REQUIRE_CUDA": "1"})


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Run random sequences on random Optimizers: ``nox -s fuzz -- [sequences [seed]]``."""
    session.install("-e", ".", *group("test"))
    default = ["20000", str(secrets.randbelow(2**32))]
    sequences, seed = [*session.posargs, *default[len(session.posargs) :]]
    session.log(f"{sequences} sequences with seed {seed}")
    env = {"FALLLINE_FUZZ_SEQUENCES": sequences, "FALLLINE_FUZZ_SEED": seed}
    session.run("pytest", "tests/optimizer/test_machine.py", "-k", "many", env=env)


BENCH = Path("asv_benchmarks")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure against peers, record the benchmarks of this commit, make tables and dashboard."""
    session.install("-e", ".", *group("bench"))
    measure(session, BENCH / "results", BENCH / "asv.conf.json")
    session.run("python", f"{BENCH}/report.py", "write")
    session.run("asv", "publish", "--config", f"{BENCH}/asv.conf.json")


@nox.session(name="bench-smoke", default=False)
def bench_smoke(session: nox.Session) -> None:
    """Run every benchmark once, with little data, and make tables that nobody keeps."""
    session.install("-e", ".", *group("bench"))
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    folder.mkdir()
    config = json.loads((BENCH / "asv.conf.json").read_text())
    config |= {"repo": str(Path.cwd()), "benchmark_dir": str((BENCH / "benchmarks").resolve())}
    config |= {name: str(folder / name) for name in ("env_dir", "html_dir")}
    config |= {"results_dir": str(folder / "asv")}
    (folder / "asv.conf.json").write_text(json.dumps(config))
    shutil.copy("README.md", folder)
    session.env["FALLLINE_BENCH_SMOKE"] = "1"
    measure(session, folder, folder / "asv.conf.json", "--quick")
    session.run("python", f"{BENCH}/report.py", "write", f"--results={folder}", f"--into={folder}")


def measure(session: nox.Session, results: Path, config: Path, *options: str) -> None:
    """Write ratios to peers and the record of asv into a folder of results."""
    commit = session.run("git", "rev-parse", "HEAD", external=True, silent=True).strip()
    machine = session.run("python", f"{BENCH}/record.py", "name", silent=True).strip()
    out = f"{results}/ratios/{commit[:8]}.json"
    session.run("python", f"{BENCH}/ratios.py", "--out", out)
    told = ["--config", str(config)]
    session.run("python", f"{BENCH}/record.py", "machine", *told)
    how = ["--python=same", "--launch-method=spawn", f"--machine={machine}", *options]
    session.run("asv", "run", *told, *how, f"--set-commit-hash={commit}", *session.posargs)
    session.run("python", f"{BENCH}/record.py", "clean", f"{results}/asv")
    session.run("python", f"{BENCH}/report.py", "check", f"--results={results}")


if __name__ == "__main__":
    nox.main()
