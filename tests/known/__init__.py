"""Profiles with known answers: one truth, written in every profiler's format, and answers worked out the slow way.

``truth`` says what happened, ``cases`` are the runs, ``reckoning`` works out what must come out (rational arithmetic on
every stretch between two neighbouring times; it shares no code with ds2prof), ``write_*`` write a truth as a profiler
would. ``answers/CASE.json`` hold the answers; ``python -m tests.known`` writes them anew.
"""
