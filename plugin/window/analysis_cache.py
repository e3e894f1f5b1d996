"""The last result of a computation, used again for as long as what it is made of stays the same.

In a cycle the sensors mostly stay. That they did is not a matter of trust: the very numbers of H and R are
compared, over all ranks.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI


@dataclass
class CachedResult:
    """One result and the digest of what it was made of.

    made : how many times a result was made, and not taken from memory
    """

    made: int = 0
    _digest: bytes = field(default=b"", repr=False)
    _result: object = field(default=None, repr=False)

    def get(self, content, make, comm):
        """The result of `make()`, made now only if some rank has other content than last time. Collective.

        content : arrays of this rank that, with those of the others, determine the result
        comm : MPI communicator
        """
        digest = _digest_of(content)
        if not comm.allreduce(digest == self._digest, MPI.LAND):
            # the old one goes first: two may be more than the memory holds
            self._digest, self._result = b"", None
            self._result = make()
            self._digest, self.made = digest, self.made + 1
        return self._result


def _digest_of(content):
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, content):
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array)
    return digest.digest()
