"""Run a long job in a thread and tell its progress step by step, so that a generator handler can show and cancel it.

Leaves out: what the job is.
"""

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from xm.search import Cancelled

Result = TypeVar("Result")
_POLL_SECONDS = 0.1  # the page redraws a progress line no more often than this


def watch(
    work: Callable[[Callable[[Any], None]], Result],
    *,
    cancel: threading.Event,
    show: Callable[[Any], Any],
) -> Generator[Any, None, Result]:
    """Yield `show(progress)` for the latest progress while `work` runs; return its result.

    Args:
        work: the job; it gets a function to report progress to, which raises Cancelled once `cancel` is set.
        cancel: set by another handler to stop the job at its next report; set here if the page goes away.
        show: makes what the handler yields from a progress report.

    Raises:
        Cancelled: the job was stopped. Whatever else `work` raised is raised here.
    """
    reports: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def report(progress: Any) -> None:
        if cancel.is_set():
            raise Cancelled("the visitor pressed Cancel, or left")
        reports.put(progress)

    pool = ThreadPoolExecutor(1, thread_name_prefix="xm-work")
    job = pool.submit(work, report)
    pool.shutdown(wait=False)
    try:
        while wait([job], timeout=_POLL_SECONDS).not_done:
            latest = _latest(reports)
            if latest is not None:
                yield show(latest)
    except GeneratorExit:
        cancel.set()
        raise
    return job.result()


def _latest(reports: "queue.SimpleQueue[Any]") -> Any:
    """Take the newest report and drop the older ones."""
    latest = None
    while not reports.empty():
        latest = reports.get()
    return latest
