"""How many cores there are for a search, and that numpy's BLAS takes one of them at most.

A search multiplies many small matrices. BLAS with two threads spins on each of them and takes a core from whoever has
work: 100,000 tokens took 20 ms flat and 39 ms by centroids so, and 11 and 29 ms with one. Leaves out: what is computed.
"""

import os
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread while this is entered; nothing else of the process is changed."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Look for the libraries once: that takes 10 ms. numpy's is loaded by whoever imports this."""
    return ThreadpoolController()
