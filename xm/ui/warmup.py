"""Do in the background, once the page is up, what the first visitor would otherwise wait for.

One thing after the other, so that a request that comes meanwhile finds a free core.
Leaves out: anything a page needs to open.
"""

import logging
import time

from xm.errors import XmError
from xm.ui import words
from xm.ui.shared import Shared

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 15.0  # for somebody to come; then it begins without anybody
_PAUSE_SECONDS = 1.0  # the first page paints meanwhile; importing torch would hold Python's lock against it


def warm_up(shared: Shared, *, wait_seconds: float = _WAIT_SECONDS, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Load the encoder, open or build the first sample's index, compile MaxSim and UMAP.

    What fails says so when it is used.
    """
    shared.visited.wait(wait_seconds)
    time.sleep(pause_seconds)
    begun = time.perf_counter()
    try:
        encoder = shared.load_encoder(shared.model)
        shared.loaded.add(shared.model)
        shared.samples.open(words.FIRST_SAMPLE, encoder, report=lambda progress: time.sleep(0))
    except XmError as error:
        _log.warning("warming up stopped: %s", error)
        return
    from xm.index import warm_up as compile_maxsim
    from xm.token_map import warm_up as compile_umap

    compile_maxsim()
    compile_umap()
    _log.info("warmed up in %.1f s", time.perf_counter() - begun)
