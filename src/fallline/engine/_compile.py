"""Functions that Numba compiles from the text of a module.

Numba's own cache is not used: environment variables may put it into a folder that others can write
to, and it loads whatever it finds there. Machine code is kept in the folder of `_cache` instead.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .._arrays._types import Fun
from . import _cache

if TYPE_CHECKING:
    from numba.core.codegen import JITCPUCodegen
    from numba.core.compiler import CompileResult
    from numba.core.cpu import CPUContext


def compiled(text: str, name: str) -> Fun:
    """Return a function of a module, given as text, compiled for the module's ``SIGNATURE``."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    module = ModuleType(f"fallline_kernel_{digest}")
    # Machine code refers to its module by this name, so every kernel needs its own.
    sys.modules[module.__name__] = module
    exec(compile(text, f"<fallline {digest}>", "exec"), module.__dict__)
    function = module.__dict__[name]
    if hasattr(function, "compile"):  # Numba was not told to leave functions as they are
        function._cache = _MachineCode(text)
        function.compile(module.__dict__["SIGNATURE"])
        function.disable_compile()
    return function  # type: ignore[no-any-return]


class _MachineCode:
    """A cache in the form that Numba expects, for the machine code of one module.

    Any failure only means that the code is compiled again.
    """

    cache_path = None  # Numba reports this

    def __init__(self, text: str) -> None:
        self.text = text

    def load_overload(self, _: object, target: CPUContext) -> CompileResult | None:
        """Return machine code that was kept for a target, or `None`."""
        from numba.core import compiler, serialize

        try:
            target.refresh()
            path = self._path(target.codegen())
            if path is None or (data := _cache.read_sealed(path)) is None:
                return None
            return compiler.CompileResult._rebuild(target, *serialize.loads(data))
        except Exception:
            return None

    def save_overload(self, _: object, result: CompileResult) -> None:
        """Keep machine code, unless it contains addresses of this process."""
        from numba.core import serialize

        try:
            path = self._path(result.codegen)
            if path is not None and not result.library.has_dynamic_globals:
                _cache.write_sealed(path, serialize.dumps(result._reduce()))
        except Exception:
            return

    def _path(self, codegen: JITCPUCodegen) -> Path | None:
        # The file for this text, these versions and this processor; `None` if there is no folder.
        import llvmlite
        import numba

        made_by = numba.__version__, llvmlite.__version__, sys.version, codegen.magic_tuple()
        digest = hashlib.sha256(repr((self.text, made_by)).encode()).hexdigest()[:32]
        folder = _cache.folder("numba")
        return None if folder is None else folder / f"kernel_{digest}.bin"
