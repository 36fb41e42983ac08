"""Exit codes, and how an error ends a command.

::

    0    done
    1    failed; the sentence on stderr says why
    2    wrong usage, or a bad configuration file
    3    the cluster is not healthy
    4    damage was found in a log
    5    it may have happened: no answer came in time
    130  interrupted with ctrl-C

An error is one sentence on stderr, cause and advice; a traceback is shown only
for a bug of raftlog.
"""

from enum import IntEnum

from raftlog.base.errors import (
    BadFormat,
    ConfigError,
    DamagedLog,
    OutcomeUnknown,
    RaftlogError,
)


class Exit(IntEnum):
    """What a command's exit code means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    DAMAGED = 4
    UNKNOWN = 5
    INTERRUPTED = 130


def exit_of(error: RaftlogError) -> Exit:
    """Return the exit code for an error that ended a command."""
    match error:
        case ConfigError() | BadFormat():
            return Exit.USAGE
        case DamagedLog():
            return Exit.DAMAGED
        case OutcomeUnknown():
            return Exit.UNKNOWN
        case _:
            return Exit.FAILED


def sentence(error: RaftlogError) -> str:
    """Return cause and advice. A text that has no advice of its own gets its class's."""
    text = str(error)
    if "; " in text or type(error).hint == RaftlogError.hint:
        return text
    return f"{text}; {type(error).hint}" if text else type(error).hint
