"""How a command ends: its exit code, and one clear line for whatever stopped it."""

import psycopg
from psycopg import errors

from schemas.errors import LedgerError, RejectedError, RetryableError

OK = 0
REFUSED = 1
"""The command was refused, or found differences."""
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130


class UsageError(LedgerError):
    """The command line or the environment cannot be used as it is."""


class CannotError(LedgerError):
    """What was asked for cannot be done as things are: a file, a port, a program that is missing."""


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for an error; what nobody foresaw is named as such."""
    if isinstance(error, LedgerError):
        return _of_ours(error)
    if isinstance(error, psycopg.Error):
        return _of_database(error)
    if isinstance(error, OSError) and error.filename is not None:
        return REFUSED, f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    return REFUSED, f"internal error, {type(error).__name__}: {_line(error)} (--debug shows where)"


def _of_ours(error: LedgerError) -> tuple[int, str]:
    if isinstance(error, RejectedError):
        return REFUSED, _refusal(error)
    if isinstance(error, UsageError):
        return USAGE, _line(error)
    return UNREACHABLE if isinstance(error, RetryableError) else REFUSED, _line(error)


def _of_database(error: psycopg.Error) -> tuple[int, str]:
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return REFUSED, f"the database is not up to date, run `commission-ledger migrate` first: {_line(error)}"
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return UNREACHABLE, f"the database does not answer: {_line(error)}"
    return REFUSED, f"the database refuses: {_line(error)}"


def _refusal(error: RejectedError) -> str:
    """Name the fields at fault where there are any: `$.total: must not be negative (negative)`."""
    if not error.faults:
        return f"{_line(error)} ({error.code})"
    return "; ".join(f"{fault.path}: {fault.message} ({fault.code})" for fault in error.faults)


def _line(error: BaseException) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__
