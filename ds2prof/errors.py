"""The errors that a user can meet. Each is one line: where, what, what to do.

One family, so that the command line catches it in one place and turns it into an exit code.
"""

from __future__ import annotations


class Ds2profError(Exception):
    """The user's input or machine is at fault. The message is one line; the exit code is 1."""

    exit_code = 1


class ReadError(Ds2profError):
    """A file cannot be read as what it claims to be."""


class UnknownFormatError(ReadError):
    """No parser knows the file's first bytes."""


class MissingDataError(Ds2profError):
    """The file was read, but does not hold what the question needs."""


class CaptureError(Ds2profError):
    """A profiler or the profiled program did not deliver a measurement."""


class ExistsError(Ds2profError):
    """A measurement of that name is there already and was not to be replaced."""


class UsageError(Ds2profError):
    """Options that contradict each other. The exit code is 2."""

    exit_code = 2
