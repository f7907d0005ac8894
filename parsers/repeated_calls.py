"""Calls that share a correlation id although each should have its own: what they launched is then a guess."""

from __future__ import annotations

import numpy as np

from ds2prof.tables import Table


def repeated_calls(api: Table) -> str | None:
    """A warning where calls of one domain and process have the id of an earlier one; None where none do.

    A runtime call and the driver call within it may share an id, and a wait has that of what is waited for.
    """
    domains = api["domain"].categories or ()
    calls = api["correlation"].present & (api.ints("correlation") > 0)
    if "sync" in domains:
        calls &= api["domain"].values != list(domains).index("sync")
    ids = np.sort(api.ints("correlation")[calls], kind="stable")
    if not (ids[1:] == ids[:-1]).any():
        return None
    keys = np.stack([api.ints("process")[calls], api["domain"].values[calls], api.ints("correlation")[calls]])
    count = keys.shape[1] - np.unique(keys, axis=1).shape[1]
    if not count:
        return None
    noun = "call" if count == 1 else "calls"
    return f"api: {count} {noun} with the correlation id of an earlier one; launches may be mistaken"
