"""A program run with its host and GPUs sampled beside it: what ``profilers/smi.sh`` starts.

Standard library alone, and only modules of ds2prof that need no more, so that any Python from 3.10 on runs it from a
bare checkout: ``python ds2prof/sampling/__main__.py --output FILE.csv --period-ms 100 -- COMMAND...``

The program is a child with its output, input and environment untouched, save for ``DS2PROF_STATUS``: the file that
whoever opens and closes a window in the program appends a line to (:mod:`.marks`). Its exit code is passed on.

What is read, by whom (:mod:`.loop` decides when):

=================== ===================================================================================================
:mod:`.cores`       ``/proc/stat``: busy time of the host and of each core
:mod:`.tree`        ``/proc/PID``: processor time, memory and threads of the program and of what it started
:mod:`.host`        memory and load of the host; which cores the program may use, once
:mod:`.gpus`        GPUs, through a child: :mod:`.nvml_child` (NVML), else nvidia-smi
=================== ===================================================================================================

All times are Unix nanoseconds of ``time.time_ns()``, periods are measured by the monotonic clock. Every reader keeps
to a share of one core (:class:`.pace.Pace`): on a large host it reads less often than it was asked to, and each row has
the period that it covers.
"""
