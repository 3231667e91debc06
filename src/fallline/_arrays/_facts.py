"""What an array is: its library, device, dtype and memory.

No array library but NumPy is imported here; the others are recognised by their arrays.
"""

from __future__ import annotations

import sys

import array_api_compat as compat
import numpy as np

from ._refused import refusal
from ._types import Array, Device, Dtype, Namespace

# The real dtype in which numbers of a dtype are computed, and that of one component.
COMPUTE = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}

# The distance from 1 to the next number.
EPSILON = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
    "complex64": 2.0**-23,
    "complex128": 2.0**-52,
}


# NumPy itself keeps to the standard, but for what 2.0 lacks; the package that adds this takes
# longer to import than NumPy.
_NUMPY = np if hasattr(np, "cumulative_sum") else compat.array_namespace(np.empty(0))
_NAMES: dict[Dtype, str] = {}  # of dtypes: NumPy makes them anew each time
_ARE_ARRAYS: dict[type, bool] = {}


def is_array(x: object) -> bool:
    """Tell whether `x` is an array that may be a leaf; NumPy scalars are not."""
    kind = type(x)
    if kind not in _ARE_ARRAYS:
        # Some classes have a namespace but lack what the standard requires of an array.
        whole = hasattr(kind, "device") or compat.is_jax_array(x)
        fits = bool(compat.is_array_api_obj(x)) and not isinstance(x, np.generic) and whole
        _ARE_ARRAYS[kind] = fits and not refusal(x)
    return _ARE_ARRAYS[kind]


def namespace(x: Array) -> Namespace:
    """Return the Array API namespace of an array."""
    return _NUMPY if isinstance(x, np.ndarray | np.generic) else compat.array_namespace(x)


def library(x: Array) -> str:
    """Return the name of the library an array belongs to, for messages and look-ups."""
    name: str = namespace(x).__name__
    return name.removeprefix("array_api_compat.").partition(".")[0]


def device(x: Array) -> Device:
    """Return the device of an array; `None` for one that jax is tracing."""
    if isinstance(x, np.ndarray):  # the quick ways
        return "cpu"
    if family(x) in ("cupy", "torch"):
        return x.device
    return None if is_traced(x) else compat.device(x)


_FAMILIES: dict[type, str] = {}


def family(x: object) -> str:
    """Return the package of an array's class, if it is one of those that share memory."""
    kind = type(x)
    if kind not in _FAMILIES:
        # Other libraries inherit from NumPy's operators, but not from its arrays.
        packages = [base.__module__.partition(".")[0] for base in kind.__mro__]
        known = (name for name in ("cupy", "torch") if name in packages)
        ours = issubclass(kind, np.ndarray | np.generic)
        _FAMILIES[kind] = "numpy" if ours else next(known, "")
    return _FAMILIES[kind]


def dtype_name(x: Array) -> str:
    """Return the name of the dtype, the same in every library and byte order."""
    dtype = x.dtype
    if isinstance(dtype, np.dtype):
        if dtype not in _NAMES:
            _NAMES[dtype] = dtype.name
        return _NAMES[dtype]
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def is_complex(x: Array) -> bool:
    """Tell whether an array is complex."""
    return dtype_name(x).startswith("complex")


def is_integer(x: Array) -> bool:
    """Tell whether an array is of integers."""
    return dtype_name(x).startswith(("int", "uint"))


def is_real(x: Array) -> bool:
    """Tell whether an array is of real floating-point numbers."""
    return dtype_name(x).startswith(("float", "bfloat"))


def is_sparse(x: object) -> bool:
    """Tell whether `x` is a sparse matrix of SciPy or CuPy."""
    return hasattr(x, "tocsr")


def is_dense(x: Array) -> bool:
    """Tell whether an array stores every element."""
    strided = family(x) != "torch" or str(x.layout) == "torch.strided"
    return strided and not compat.is_pydata_sparse_array(x)


def on_host(x: Array) -> bool:
    """Tell whether an array is NumPy's, so that reading its values waits for no device."""
    return isinstance(x, np.ndarray)


def in_host_memory(x: Array) -> bool:
    """Tell whether reading an array waits for no device: NumPy's, and torch's on the CPU."""
    return isinstance(x, np.ndarray) or (family(x) == "torch" and x.device.type == "cpu")


def compute_dtype(x: Array) -> Dtype:
    """Return the real dtype in which an array's update is computed."""
    return getattr(namespace(x), COMPUTE[dtype_name(x)])


def is_traced(x: object) -> bool:
    """Tell whether `x` is a symbol of a running ``jax.jit``, ``jax.vmap`` or ``jax.grad``."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def is_immutable(x: Array) -> bool:
    """Tell whether the library replaces arrays instead of writing into them."""
    return not isinstance(x, np.ndarray) and bool(compat.is_jax_array(x))


def is_writable(x: Array) -> bool:
    """Tell whether elements of `x` can be written."""
    return not isinstance(x, np.ndarray) or x.flags.writeable


def is_half(x: Array) -> bool:
    """Tell whether an array is of half precision."""
    return dtype_name(x) in ("float16", "bfloat16")
