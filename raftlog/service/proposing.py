"""Commands that are not batches: checked, proposed, answered with their outcome.

One callback each. What would be refused in apply for its form is refused here,
by the same function (ruling 15), and never in the log. What came of the rest is
what the proposal was told (ruling 22): the outcome, the machine's refusal, or
why the entry never was, or may not be, in the log.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError, Refused
from raftlog.base.ids import Index, Term
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.refusals import CommandRefused
from raftlog.service.ports import ShardReplica

T = TypeVar("T")
V = TypeVar("V", bound=CommandValue)

Reply = Callable[[T | RaftlogError], None]
"""Called exactly once, on the loop."""


def propose(
    replica: ShardReplica,
    make: Callable[[], CommandValue],
    expected: type[T],
    reply: Reply[T],
) -> None:
    """Commit what ``make`` returns; ``reply`` gets its outcome, of type ``expected``, or an error.

    ``make`` may refuse to make it, as values do that are valid by construction.
    """
    try:
        command = write_command(make())
    except Refused as error:
        reply(error)
        return
    propose_parts(replica, (command.type, command.parts), expected, reply)


def propose_checked(
    replica: ShardReplica,
    make: Callable[[], V],
    check: Callable[[V], object],
    expected: type[T],
    reply: Reply[T],
) -> None:
    """Commit what ``make`` returns, as ``propose`` does, if ``check`` does not refuse it now.

    So what is refused is not in the log, where others look for what was done; but for what
    was refused between this look and its entry.
    """

    def ready(error: RaftlogError | None) -> None:
        try:
            if error is None:
                check(make())
        except Refused as refusal:
            error = refusal
        if error is not None:
            reply(error)
        else:
            propose(replica, make, expected, reply)

    replica.read_index(ready)


def when_settled(replica: ShardReplica, act: Callable[[], None], reply: Reply[T]) -> None:
    """Do what depends on the feature level, once a leader knows it: perhaps it replays still.

    What is taken in meanwhile is stamped with the level of when it is appended. ``reply`` gets
    why that never came, else ``act`` sees to it. Who does not lead refuses by itself.
    """

    def ready(error: RaftlogError | None) -> None:
        if error is None:
            act()
        else:
            reply(error)

    if replica.is_settled or not replica.leads:
        act()
    else:
        replica.read_index(ready)


def propose_parts(
    replica: ShardReplica,
    command: tuple[int, Sequence[Buffer]],
    expected: type[T],
    reply: Reply[T],
) -> None:
    """Commit a command that is written already, of a type and parts, as ``propose`` does."""

    def on_outcome(outcome: object, _term: Term, index: Index) -> None:
        if isinstance(outcome, expected | RaftlogError):
            reply(outcome)
        else:
            assert isinstance(outcome, CommandRefused), f"{outcome!r} of the command at {index}"
            reply(outcome.error)

    replica.propose(*command, on_outcome)


def propose_unheard(replica: ShardReplica, value: CommandValue) -> None:
    """Propose ``value`` for its effect: whoever proposes it looks at the state again later."""
    command = write_command(value)
    replica.propose(command.type, command.parts, _unheard)


def _unheard(_outcome: object, _term: Term, _index: Index) -> None:
    """Nobody waits for it."""


def look(replica: ShardReplica, answer: Callable[[], T | RaftlogError], reply: Reply[T]) -> None:
    """Give ``reply`` what ``answer`` finds once that is linearizable (ruling 23)."""

    def ready(error: RaftlogError | None) -> None:
        reply(answer() if error is None else error)

    replica.read_index(ready)
