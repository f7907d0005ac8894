"""Tasks on Dask: one file to a task, on processes of this machine or on a cluster's workers.

Dask sends functions and results between its processes as pickles. Those of this machine talk over TLS with keys made
for the occasion, so that nobody else on it can send them anything; a cluster's scheduler is trusted by whoever names
it. Nothing that stands in a profiler's file is ever unpickled.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ds2prof.errors import Ds2profError, UsageError

if TYPE_CHECKING:
    from distributed import Client

LOCAL: Final = "local"
DEATHS: Final = 3
"""A task whose workers died more often than this is given up: it may be what kills them."""
_CONNECT_S: Final = 20
_CONFIG: Final = {
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.scheduler.http.routes": [],  # no page tells other users of this machine what is read here
    "distributed.worker.http.routes": [],
}
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@contextmanager
def cluster(where: str, *, workers: int | None = None) -> Iterator[Client]:
    """A client of the workers: ``where`` is ``local`` or the address of a scheduler, ``tcp://host:8786``.

    Local workers are processes of this machine, one for each processor unless ``workers`` says how many; they end with
    the context.

    Raises:
        Ds2profError: Dask is not installed, or no scheduler answers.
        UsageError: ``where`` is neither.
    """
    if where != LOCAL and "://" not in where:
        raise UsageError(f"--dask {where}: neither 'local' nor a scheduler's address such as tcp://host:8786")
    if where != LOCAL and workers is not None:
        raise UsageError("--workers: a cluster has the workers that it has; only --dask local can be told how many")
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise Ds2profError('--dask: needs Dask; pip install "ds2prof[dask]"') from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost worker is no news: its tasks run elsewhere
    with dask.config.set(_CONFIG):
        if where != LOCAL:
            with _connected(Client, where) as client:
                yield client
            return
        local = LocalCluster(
            n_workers=workers or os.cpu_count() or 1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            **_secured(),
        )
        with local, Client(local) as client:
            yield client


def _secured() -> dict[str, Any]:
    """TLS between local processes, where the library that makes its keys is installed."""
    from distributed.security import Security

    try:
        return {"security": Security.temporary(), "protocol": "tls"}
    except ImportError:
        return {}


def _connected(make: Callable[..., Client], address: str) -> Client:
    try:
        return make(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise Ds2profError(f"--dask {address}: no scheduler answers: {' '.join(str(error).split())}") from None


def mapped(
    client: Client,
    function: Callable[[_Task], _Result],
    tasks: Sequence[_Task],
    *,
    done: Callable[[int], None] = lambda count: None,
) -> list[_Result | Ds2profError]:
    """The function of each task, in the order of the tasks; an error where its workers died again and again.

    What a dead worker had to do is done by another. An error that the function raises is raised here. ``done`` is told
    after each task.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    futures = client.map(function, tasks, pure=False)
    place_of = {future.key: place for place, future in enumerate(futures)}
    results: list[Any] = [None] * len(tasks)
    for future in as_completed(futures):
        place = place_of[future.key]
        if future.status == "error" and isinstance(future.exception(), KilledWorker):
            why = f"{DEATHS + 1} workers died over it; did they run out of memory? Try it without --dask"
            results[place] = Ds2profError(f"{tasks[place]}: {why}")
        else:
            results[place] = future.result()
        future.release()
        done(1)
    return results
