"""Settings for every test: torch on one thread, waiting passively.

Tiny models gain nothing from two threads, and on a busy machine spinning threads make them ten times slower.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
