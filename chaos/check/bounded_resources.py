"""Everything that could grow has a bound, and stays within it: queues, windows, memory, files.

A bound is what a limit allows, and what one more of the largest thing may add to it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "bounded_resources"


class Use(msgspec.Struct, frozen=True):
    """How much of something there is, and how much there may be."""

    used: int
    allowed: int


def check_resources(node: NodeId, uses: Mapping[str, Use]) -> None:
    """Check what one replica uses.

    Raises:
        Violation: It is more than is allowed.
    """
    for what, use in uses.items():
        if use.used > use.allowed:
            raise Violation(NAME, f"{node} has {use.used} {what}; {use.allowed} are allowed")
