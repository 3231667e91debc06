"""How the problems of a batch ended, for its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _arrays
from ..._arrays._types import Array, HostArray
from ...stop import Verdict


def ends(codes: HostArray, verdicts: Sequence[Verdict], like: Array) -> dict[str, Any]:
    """Return the message, and success and status of each problem.

    Parameters
    ----------
    codes : array of int
        Indices of their verdicts, on the host.
    verdicts : sequence of Verdict
        Those that were found.
    like : array
        Tells the library and the device.
    """
    good = np.array([v.success for v in verdicts], dtype=bool)[codes]
    status = np.array([v.status for v in verdicts], dtype=np.int32)[codes]
    counts = np.bincount(codes, minlength=len(verdicts))
    reasons = [
        f"{counts[i]}: {verdicts[i].message}"
        for i in np.argsort(-counts, kind="stable")
        if counts[i]
    ]
    return {
        "message": "; ".join([f"{np.count_nonzero(good)} of {codes.size} converged", *reasons]),
        "success": _arrays.from_numpy(good, like),
        "status": _arrays.from_numpy(status, like),
    }
