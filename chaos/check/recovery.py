"""What a replica remembers after a restart: all that was durable, nothing invented.

::

    durable:    1 2 3 4 5        reported on disk
    in flight:          | 6 7    written, perhaps after a truncation; may be lost from any point
    recovered:  1 2 3 4 5 6      good: a prefix of what was written, with all that was durable
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.log_model import LogModel, Mark
from chaos.check.violation import Violation
from raftlog.base.ids import NodeId
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries

NAME: Final = "recovery"


def check_recovered(
    node: NodeId,
    recovered: Sequence[Mark | None],
    durable: LogModel,
    in_flight: Sequence[Write],
    committed: LogModel | None = None,
) -> LogModel:
    """Check a recovered log; None in it is an entry that was damaged or not looked at.

    ``committed`` is needed where a reset is in flight.

    Returns the log as it must be now, damaged entries included.

    Raises:
        Violation: It has lost what was durable, or has what was never written.
    """
    for least, most in _possible_logs(durable, in_flight, committed or LogModel()):
        if _is_between(recovered, least, most):
            return LogModel(most.marks[: len(recovered)])
    raise Violation(
        NAME,
        f"{node} recovers a log that ends at {len(recovered)} {recovered[-1:]}; durable was "
        f"{len(durable)} {durable.marks[-1:]}, {len(in_flight)} writes were in flight",
    )


def _possible_logs(
    durable: LogModel, in_flight: Sequence[Write], committed: LogModel
) -> list[tuple[int, LogModel]]:
    """Return, for each crash point, how many entries must be there, and a prefix of what."""
    log = durable.copy()
    least = len(log)
    possible = [(least, log.copy())]
    for write in in_flight:
        if isinstance(write, ResetLog):
            # The old log or the new one, whose part before its beginning is what was committed.
            log.reset(write.base, committed)
            least = len(log)
            possible.append((least, log.copy()))
        if not isinstance(write, WriteEntries):
            continue
        if write.truncate_to is not None:
            least = min(least, write.truncate_to)
            # A truncation that is under way may have reached any length in between.
            possible.append((least, log.copy()))
        log.write(write.truncate_to, write.entries)
        possible.append((least, log.copy()))
    return possible


def _is_between(recovered: Sequence[Mark | None], least: int, most: LogModel) -> bool:
    if not least <= len(recovered) <= len(most):
        return False
    return all(
        found is None or found == written
        for found, written in zip(recovered, most.marks, strict=False)
    )


def check_recovered_hard_state(
    node: NodeId, recovered: HardState, durable: HardState, in_flight: Sequence[Write]
) -> None:
    """Check the recovered term and vote: the durable ones, or newer ones that were in flight.

    Raises:
        Violation: They are neither.
    """
    possible = [durable, *(write.state for write in in_flight if isinstance(write, SaveHardState))]
    if recovered not in possible:
        raise Violation(NAME, f"{node} recovers {recovered}; possible were {possible}")
