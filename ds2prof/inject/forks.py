"""What a child by fork needs in order to end.

Where Kineto has run before the fork, its exit handlers wait in the child for threads that only the parent has, for
ever, or crash. Children of ``multiprocessing`` are not concerned: they leave by ``os._exit``.
"""

from __future__ import annotations

import ctypes


def end_past_exit_handlers() -> None:
    """From here on ``exit`` in this process ends it at once, with its own exit code and C's files flushed.

    Python has ended by then as it always does; what is left out are handlers that C and C++ libraries registered
    before the fork. Handlers run last in, first out.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc; elsewhere there is no way to keep the exit code
        libc.on_exit(libc._exit, None)
        libc.__cxa_atexit(libc.fflush, None, None)
