"""From the text of a module to a function that Numba compiles.

Numba's own cache is not used. It goes where environment variables say, which may be a folder that
others write, and it loads whatever it finds there. Machine code is kept as that of CUDA is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import _cache


def compiled(text: str, name: str) -> Callable[..., None]:
    """Return a function of a module's text, compiled for the types in the module's `SIGNATURE`."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    module = ModuleType(f"fallline_kernel_{digest}")
    # Machine code refers to its module by this name, which no other kernel has.
    sys.modules[module.__name__] = module
    exec(compile(text, f"<fallline {digest}>", "exec"), module.__dict__)
    function: Any = module.__dict__[name]
    if hasattr(function, "compile"):  # Numba was not told to leave functions as they are
        function._cache = _MachineCode(text)
        function.compile(module.__dict__["SIGNATURE"])
        function.disable_compile()
    return function  # type: ignore[no-any-return]


class _MachineCode:
    """The cache that Numba asks for the machine code of a module, and gives it to.

    Whatever is wrong with it must cost no more than time.
    """

    cache_path = None  # that Numba reports

    def __init__(self, text: str) -> None:
        self.text = text

    def load_overload(self, _: Any, target: Any) -> Any:
        """Return what was compiled for a target before, or `None`."""
        from numba.core import compiler, serialize

        try:
            target.refresh()
            path = self._path(target.codegen())
            if path is None or (data := _cache.read_sealed(path)) is None:
                return None
            return compiler.CompileResult._rebuild(target, *serialize.loads(data))
        except Exception:
            return None

    def save_overload(self, _: Any, result: Any) -> None:
        """Keep what was compiled, unless it holds addresses of this process."""
        from numba.core import serialize

        try:
            path = self._path(result.codegen)
            if path is not None and not result.library.has_dynamic_globals:
                _cache.write_sealed(path, serialize.dumps(result._reduce()))
        except Exception:
            return

    def _path(self, codegen: Any) -> Any:
        # The file for this text, these versions and this processor; `None` without a folder.
        import llvmlite
        import numba

        made_by = numba.__version__, llvmlite.__version__, sys.version, codegen.magic_tuple()
        digest = hashlib.sha256(repr((self.text, made_by)).encode()).hexdigest()[:32]
        folder = _cache.folder("numba")
        return None if folder is None else folder / f"kernel_{digest}.bin"
