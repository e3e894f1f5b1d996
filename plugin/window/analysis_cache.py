"""What analyses one after another share while their sensors and errors stay.

In a cycle the sensors mostly stay. Whether they did is not assumed: the very numbers of H and R are compared, over all
ranks. A cycle makes one AnalysisCache, and each group of a reanalysis another, and passes it to every analysis.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI


@dataclass
class CachedResult:
    """The last result of a computation and the digest of its input.

    computed : how many times a result was computed, and not taken from memory
    """

    computed: int = 0
    _digest: bytes = field(default=b"", repr=False)
    _result: Any = field(default=None, repr=False)

    def result_for(self, content: Iterable[np.ndarray], compute: Callable[[], Any], comm: MPI.Comm) -> Any:
        """The result of `compute()`, computed only if some rank has other content than last time. Collective.

        content : arrays of this rank that, with those of the others, determine the result
        """
        digest = _digest_of(content)
        if not comm.allreduce(digest == self._digest, MPI.LAND):
            # the old one goes first: two may be more than the memory holds
            self._digest, self._result = b"", None
            self._result = compute()
            self._digest, self.computed = digest, self.computed + 1
        return self._result


@dataclass
class AnalysisCache:
    """Results of the last analysis for the next one. Any of them is computed anew if what it depends on has changed.

    hessian : of J_o, made of U, H and R
    background_std : √diag(H B Hᵀ) at the readings of the last quality control
    left_out : what analyses without each reading need, of the Hessian
    localised : U of localised background errors, made for H
    stuck : when readings show that their sensors are stuck
    encoding : what a network's observation encoder needs of H and R
    """

    hessian: CachedResult = field(default_factory=CachedResult)
    background_std: CachedResult = field(default_factory=CachedResult)
    left_out: CachedResult = field(default_factory=CachedResult)
    localised: CachedResult = field(default_factory=CachedResult)
    stuck: CachedResult = field(default_factory=CachedResult)
    encoding: CachedResult = field(default_factory=CachedResult)


def _digest_of(content: Iterable[np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, content):
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    return digest.digest()
