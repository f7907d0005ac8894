"""What rests on the idle ledger: why an iteration is odd, and idle time without what the profiler took."""

from __future__ import annotations

from typing import Any

from ds2prof.analysis.ledger import cut_iterations, idle_ledger
from ds2prof.analysis.uncertainty.iterations import Ledger
from ds2prof.analysis.uncertainty.overhead import idle_of, is_calibrated
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile


def ledger_rows(profile: Profile) -> Ledger:
    """Gives, once called, the ledger's rows by iteration; none where the profile cannot be accounted for.

    An iteration that the window cuts has none either: what is missing of it would pass for time saved.
    """

    def rows() -> list[dict[str, Any]]:
        try:
            found = idle_ledger(profile, per="iteration").rows()
        except MissingDataError:
            return []
        cut = {key for device in {row["device"] for row in found} for key in cut_iterations(profile, device)}
        return [row for row in found if row["iteration"] not in cut]

    return rows


def idle_totals(profile: Profile) -> dict[str, Any]:
    """``idle``: for each device, idle time as observed and as corrected; nothing where no calibration is there."""
    if not is_calibrated(profile):
        return {}
    return {"idle": [one.as_dict() for one in idle_of(profile, idle_ledger(profile).rows())]}
