"""Exit codes, and how an error ends a command.

::

    0    done
    1    failed; the sentence on stderr says why
    2    wrong usage, or a bad configuration file
    3    the cluster is not healthy
    4    damage was found in a log
    130  interrupted with ctrl-C

An error is one sentence on stderr, cause and advice; a traceback is shown only
for a bug of raftlog.
"""

from enum import IntEnum

from raftlog.base.errors import ConfigError, DamagedLog, RaftlogError


class Exit(IntEnum):
    """What a command's exit code means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    DAMAGED = 4
    INTERRUPTED = 130


def exit_of(error: RaftlogError) -> Exit:
    """Return the exit code for an error that ended a command."""
    match error:
        case ConfigError():
            return Exit.USAGE
        case DamagedLog():
            return Exit.DAMAGED
        case _:
            return Exit.FAILED
