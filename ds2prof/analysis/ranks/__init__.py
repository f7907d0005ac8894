"""Several profiles as one run: each rank's time, collectives matched over ranks, clocks aligned, who made whom wait.

Two steps, so that the first can run anywhere: :func:`lanes_of` takes of one profile what is small, :func:`run_of` puts
the lanes of all of them together. The answers are made of that.
"""

from ds2prof.analysis.ranks.answers import KEYS, answer, run_totals
from ds2prof.analysis.ranks.lanes import TABLES, Lane, lanes_of
from ds2prof.analysis.ranks.runs import Run, run_of

__all__ = ["KEYS", "TABLES", "Lane", "Run", "answer", "lanes_of", "run_of", "run_totals"]
