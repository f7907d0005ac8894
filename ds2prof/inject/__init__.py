"""What runs inside a program that knows nothing of ds2prof: it counts optimizer steps and records a window of them.

A launcher puts the folder ``site`` in front of ``PYTHONPATH``. Python loads the ``sitecustomize`` in there, which waits
until the program imports torch and then loads this package by its path, under the name ``_ds2prof_inject``. It may be
any Python from 3.8 on that has torch: nothing in here imports ds2prof or what ds2prof depends on, and modules import
each other relatively. A failure in here is one line on standard error, and the program goes on without us.

The environment says what is wanted:

=========================== =======================================================================================
``DS2PROF_INJECT``          ``trace`` (torch.profiler), ``memory`` (:mod:`.memory`), ``signal`` (cudaProfilerStart and
                            NVTX ranges for a profiler outside)
``DS2PROF_INJECT_OUTPUT``   the file to write; ``{process}`` in it becomes ``rank<r>``, or ``p<pid>`` outside of a
                            distributed run
``DS2PROF_PROFILE_START``   first step of the window, counted from 0
``DS2PROF_PROFILE_STOP``    first step behind it
``DS2PROF_WINDOW``          ``all``: the whole run from the import of torch on; anything else is not for us
``DS2PROF_DETAIL``          ``1``: what attribution needs besides (``trace``)
``DS2PROF_COUNT_OPS``       ``1``: count the window's operators (``signal``, for profilers that replay)
``DS2PROF_INJECT_RUN_LOG``  a file for the time of each step, with or without a mode (:mod:`.timing`)
``DS2PROF_STATUS``          a file that lines of progress are appended to (:mod:`.status` has their form)
=========================== =======================================================================================

A *step* is a call of ``step()`` of the first optimizer that steps in this process; nested calls count once, and one
that raises not at all. Step N reaches from the end of step N-1 to its own end, where its ``step()`` returns.

Each mode is a recorder, which :mod:`.session` makes and calls, always in the thread that the event happens in:

``start()``
    torch has just been imported: CUDA is not initialized, no tensor exists yet.
``made(optimizer)``
    an optimizer has been made.
``before(n, optimizer)``
    step ``n`` is about to update the weights: ``optimizer.step()`` was called and has done nothing yet. Gradients live.
``step(n, optimizer)``
    ``optimizer.step()`` of step ``n`` has returned.
``stop()``
    the process ends: what was recorded is written, whole, under its final name, unless that was done when the window
    was over.
``abandon()``
    in place of it, in processes that load data for others, and after a failure: all is off, nothing is written.
``give_way()``
    the program starts torch.profiler itself.
``forked()``
    this process has just been forked: whether it is followed on. Where not, nothing is called any more.

``memory.MemoryRecorder(output_path, status, hooks=hooks)`` gets the path with ``{process}`` still in it and the status
file or None as texts; :func:`.outputs.final_path` and :func:`.status.tell` make use of them. ``start()`` is called at
once. The window is ``DS2PROF_PROFILE_START`` to ``DS2PROF_PROFILE_STOP`` where they are set, else :mod:`.windows`'
default. Its ``stop()`` is called when step STOP-1 is complete, or when the process ends earlier (:mod:`.memory_mode`).

What would undo a compilation, a dispatch mode or hooks on all modules, is never on once the program has called
``torch.compile`` (:mod:`.following`).

What cannot be followed: Python told to ignore its environment or its site (``-I``, ``-E``, ``-S``), a command that
clears ``PYTHONPATH``, and the end of a process by ``os._exit`` or a signal that nobody catches, which leaves no time to
write. The status file says what went on: without a line ``loaded`` no Python was reached.
"""
