"""From the text of a module to a function that Numba compiles."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import _cache


def compiled(text: str, name: str) -> Callable[..., None]:
    """Return a function of a module's text, which sees in `CACHE` whether to keep machine code."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    folder = _cache.folder("numba")
    path = None if folder is None else folder / f"kernel_{digest}.py"
    if path is not None and _cache.write(path, text.encode()):
        # Numba finds what it cached for a function by the name of its module.
        module = ModuleType(f"fallline_kernel_{digest}")
        module.__dict__.update(CACHE=True, __file__=str(path))
        sys.modules[module.__name__] = module
        try:
            exec(compile(text, str(path), "exec"), module.__dict__)
        except Exception:
            # Whatever is wrong with the cache must cost no more than time.
            del sys.modules[module.__name__]
        else:
            return module.__dict__[name]  # type: ignore[no-any-return]
    names: dict[str, Any] = {"CACHE": False, "__name__": f"fallline_{digest}"}
    exec(compile(text, f"<fallline {digest}>", "exec"), names)
    return names[name]  # type: ignore[no-any-return]
