"""Objects that look like arrays but are not supported, and why."""

from __future__ import annotations

import numpy as np

# Why such an object is not supported, by its package, and what to do instead.
_LAZY = "a lazy graph, which would grow with every step; compute it into an array first"
_SPARSE = "sparse, and a step fills every element; make a dense array of it"
_TABLE = "a table with labels, which a step would lose; take its array, .to_numpy() for instance"
_REFUSED = {
    "dask": _LAZY,
    "ndonnx": _LAZY,
    "sparse": _SPARSE,
    "scipy": _SPARSE,
    "cupyx": _SPARSE,
    "pandas": _TABLE,
    "polars": _TABLE,
    "pyarrow": _TABLE,
    "xarray": _TABLE,
    "zarr": "in storage, not in memory; read it with [...]",
    "mlx": "of a library that does not follow the Array API standard; make a NumPy array of it",
    "tensorflow": "of a library that does not follow the Array API standard; make a NumPy array",
}
_REFUSED_CLASSES: dict[type, str] = {
    np.ma.MaskedArray: "masked, and a step would forget the mask; take x.filled(0) or x.data",
    np.matrix: "one whose * is not the elementwise product; make an array of it with numpy.asarray",
}


def refusal(x: object) -> str:
    """Return why an object that looks like an array is not supported; empty for everything else."""
    for kind, why in _REFUSED_CLASSES.items():
        if isinstance(x, kind):
            return why
    if isinstance(x, np.ndarray | np.generic):
        return ""
    packages = (base.__module__.partition(".")[0] for base in type(x).__mro__)
    return next((_REFUSED[name] for name in packages if name in _REFUSED), "")
