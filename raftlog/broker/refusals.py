"""Refusals: outcomes of commands that changed nothing, equal on every replica.

Apply is total (ruling 15): what cannot be carried out is answered, not raised.
An outcome holds the very error that the caller gets, made from the machine's
state alone.
"""

import msgspec

from raftlog.base.errors import RaftlogError


class CommandRefused(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a command that changed nothing."""

    error: RaftlogError
