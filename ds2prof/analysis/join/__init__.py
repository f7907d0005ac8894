"""The join: counters of a replayed capture put back on the launches of a real timeline (docs/JOIN.md)."""

from __future__ import annotations

from ds2prof.analysis.join.joined import Joined, join
from ds2prof.analysis.join.tables import BY, table, totals, unmatched

__all__ = ["BY", "Joined", "join", "table", "totals", "unmatched"]
