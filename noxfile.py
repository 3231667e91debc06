#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Tasks of a contributor: `nox -l` lists them, `nox` runs what a pull request needs."""

from __future__ import annotations

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
LIBRARIES = {
    "numpy": ["numba", "ml-dtypes", "cupy", "nvidia"],
    "array_api_strict": ["array-api-strict", "scikit-learn"],
    "torch": ["torch"],
    "jax": ["jax"],
    "cupy": [],
    "dpnp": ["scikit-learn"],
}
RUNNERS = ("pytest", "hypothesis")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def require_cuda(session: nox.Session) -> None:
    """Skip the session where there is no CUDA device, or fail if one is required."""
    found = shutil.which("nvidia-smi") and subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, check=False
    ).stdout.startswith(b"GPU")
    if not found:
        required = os.environ.get("FALLLINE_REQUIRE_CUDA") == "1"
        (session.error if required else session.skip)("no CUDA device")


@nox.session
@nox.parametrize("backend", list(LIBRARIES))
def tests(session: nox.Session, backend: str) -> None:
    """Run the tests of one array library, and all that concern none."""
    if backend == "cupy":
        require_cuda(session)
    if backend == "dpnp":
        tests_of_dpnp(session)
        return
    names = LIBRARIES[backend]
    wanted = [line for line in group("test") if line.startswith((*names, *RUNNERS))]
    extra = ".[cuda12]" if backend == "cupy" else "."
    session.install("-e", extra, *wanted, *(["expecttest"] if backend == "torch" else []))
    session.run("pytest", f"--backend={backend}", *session.posargs)


def tests_of_dpnp(session: nox.Session) -> None:
    """Run the tests of dpnp, and no others, on an OpenCL device made of the processor.

    dpnp counts references in host tasks that wait for the interpreter's lock, and some calls of
    oneMKL wait for a host task while they hold it: with a thread for each core the tests may never
    end. With 256 threads they were not seen to; if they should, they fail after five minutes.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        session.skip("dpnp and its OpenCL device have wheels for Linux on x86-64")
    wanted = [line for line in group("test") if line.startswith((*LIBRARIES["dpnp"], *RUNNERS))]
    session.install("-e", ".", *wanted, *group("dpnp"))
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


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and docstrings."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("numpydoc", "lint", *map(str, sorted(Path("src").rglob("*.py"))))


@nox.session
def doctest(session: nox.Session) -> None:
    """Run the examples of the docstrings and of the README."""
    session.install("-e", ".", "pytest>=9")
    session.run("pytest", "src", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run the example programs."""
    session.install("-e", ".[examples]", *(line for line in group("test") if "torch" in line))
    for path in sorted(Path("examples").resolve().glob("*.py")):
        with session.chdir(session.create_tmp()):
            session.run("python", "-W", "error", str(path))


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, install it elsewhere and import it there."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    session.install(str(wheel))
    session.chdir(folder)
    session.run("python", "-c", "import fallline as fl; print(fl.__version__, fl.__file__)")


@nox.session
def minimum(session: nox.Session) -> None:
    """Run the tests with the oldest supported dependencies."""
    oldest = [line.replace(">=", "==") for line in PROJECT["project"]["dependencies"]]
    session.install("-e", ".", *oldest, "pytest>=9", "hypothesis")
    session.run("pytest", "--backend=numpy", "tests", *session.posargs)


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


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors, into docs/_build."""
    session.install("-e", ".", *group("docs"))
    session.run("python", "docs/tables.py")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build")


BENCH = "asv_benchmarks"


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Record the benchmarks of this commit, publish the dashboard, print ratios to the peers."""
    session.install("-e", ".", *group("bench"))
    commit = session.run("git", "rev-parse", "HEAD", external=True, silent=True).strip()
    config = ["--config", f"{BENCH}/asv.conf.json"]
    session.run("asv", "machine", "--yes", *config)
    same = ["--python=same", "--launch-method=spawn", f"--set-commit-hash={commit}"]
    session.run("asv", "run", *config, *same, "--show-stderr", *session.posargs)
    session.run("asv", "publish", *config)
    session.run("python", f"{BENCH}/report.py", "check")
    session.run("python", f"{BENCH}/report.py", "readme", "README.md")
    session.run("python", f"{BENCH}/report.py", "table", "docs/_generated/benchmarks.md")


@nox.session(name="bench-smoke", default=False)
def bench_smoke(session: nox.Session) -> None:
    """Run every benchmark once and save nothing."""
    session.install("-e", ".", *group("bench"))
    config = ["--config", f"{BENCH}/asv.conf.json"]
    session.run("asv", "machine", "--yes", *config)
    session.run("asv", "check", "--python=same", *config)
    once = ["--python=same", "--quick", "--show-stderr", "--dry-run"]
    session.run("asv", "run", *config, *once, *session.posargs)


if __name__ == "__main__":
    nox.main()
