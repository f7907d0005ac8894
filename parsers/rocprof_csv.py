"""Tables of AMD's rocprofv3 as CSV (``rocprofv3 --output-format csv``): one kind of record a file.

Grammar, in CSV with a header; columns in brackets are not in every release::

    kernels   := Kind, Agent_Id, Queue_Id, [Stream_Id, Thread_Id, Dispatch_Id,] Kernel_Id, Kernel_Name, Correlation_Id,
                 Start_Timestamp, End_Timestamp, [LDS_Block_Size, Scratch_Size, VGPR_Count, ...,]
                 Workgroup_Size_X, ..._Y, ..._Z, Grid_Size_X, ..._Y, ..._Z
    copies    := Kind, Direction, [Stream_Id,] Source_Agent_Id, Destination_Agent_Id, Correlation_Id, Start_..., End_...
    calls     := Domain, Function, Process_Id, Thread_Id, Correlation_Id, Start_Timestamp, End_Timestamp
    counters  := Correlation_Id, Dispatch_Id, Agent_Id, Queue_Id, Process_Id, Thread_Id, Grid_Size, Kernel_Id,
                 Kernel_Name, Workgroup_Size, ..., Counter_Name, Counter_Value, [Start_Timestamp, End_Timestamp]
    agent     := n | "Agent n" | "GPU n" | "CPU n"

Times are nanoseconds of the machine's monotonic clock. The number of an agent stands for the device as it is: without
the table of agents, which is another file, it is not known which GPU ``Agent 4`` is. Grids are counted in work-items;
in the file of counters grid and workgroup are their volumes only, so that their sides are null. In a file of markers
(domain ``MARKER_...``) a function is a range's text, or a call of the library (``roctx...``), which is no range; a
range without length is a mark. A file of copies does not tell their bytes.
"""

from __future__ import annotations

import re
from typing import Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Profile

FORMAT: Final = "rocprofv3-csv"
_HEADER: Final = re.compile(
    rb'(?:\xef\xbb\xbf)?"?(?:Kind"?,"?(?:Agent_Id"?,"?Queue_Id|Direction"?,"?(?:Stream_Id"?,"?)?Source_Agent_Id)'
    rb'|Domain"?,"?Function"?,"?Process_Id|Correlation_Id"?,"?Dispatch_Id"?,"?Agent_Id)"?,'
)


def sniff(head: bytes) -> bool:
    """Whether the first line is the header of one of rocprofv3's tables."""
    return _HEADER.match(head) is not None


def parse(source: Source) -> Profile:
    """The profile of one table, read when it is asked for."""
    return Profile(lambda names: load(source, names))


def load(source: Source, names: frozenset[str]) -> Loaded:
    """The named tables.

    Raises:
        ReadError: a column that is needed is missing, or the file is damaged beyond reading.
    """
    from ds2prof.parsers import rocprof_csv_rows  # NumPy's arrays, which finding the format need not

    return rocprof_csv_rows.loaded(source, FORMAT, names)
