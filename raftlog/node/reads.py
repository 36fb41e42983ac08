"""Linearizable reads on their way: asked of the core, confirmed, applied, told.

A read waits for two things: that the core confirms an index (a majority says
that the leader still led), and that this replica has applied it. Messages that
ask a leader may be lost and are not repeated, so a read that is not confirmed
in time is given up: nothing was done, the caller may ask again.
"""

from collections.abc import Callable

from raftlog.base.errors import RaftlogError, Throttled, Unavailable
from raftlog.base.ids import Index
from raftlog.base.limits import PENDING_READS_MAX, READ_CONFIRM_NS
from raftlog.node.outward import Outward

OnRead = Callable[[RaftlogError | None], None]
"""Called once: None when a linearizable read may be served from the applied state."""


class LinearizableReads:
    """The reads of one replica that nobody has answered yet."""

    def __init__(self, first_token: int, outward: Outward) -> None:
        self._tell = outward.call
        self._unconfirmed: dict[int, tuple[int, OnRead]] = {}
        self._confirmed: list[tuple[Index, OnRead]] = []
        # Drawn: an answer to a read of this node's last process must not fit one of this one.
        self._next_token = first_token

    def add(self, now_ns: int, on_read: OnRead) -> int:
        """Begin a read; return the token under which the core knows it."""
        self._next_token += 1
        self._unconfirmed[self._next_token] = (now_ns + READ_CONFIRM_NS, on_read)
        return self._next_token

    def confirmed(self, token: int, index: Index, applied: Index) -> None:
        """The core says: it may be served once ``index`` is applied."""
        found = self._unconfirmed.pop(token, None)
        if found is None:
            return
        on_read = found[1]
        if applied >= index:
            self._tell(on_read, None)
        elif len(self._confirmed) >= PENDING_READS_MAX:
            # Apply may stand still for long, at an entry that no peer can repair.
            error = Throttled(f"{len(self._confirmed)} reads wait for entry {index} already")
            self._tell(on_read, error)
        else:
            self._confirmed.append((index, on_read))

    def failed(self, token: int, error: RaftlogError) -> None:
        """The core says: nobody can confirm it."""
        found = self._unconfirmed.pop(token, None)
        if found is not None:
            self._tell(found[1], error)

    def applied(self, index: Index) -> None:
        """Serve what waited for ``index``."""
        if not self._confirmed:
            return
        waiting, self._confirmed = self._confirmed, []
        for needed, on_read in waiting:
            if needed <= index:
                self._tell(on_read, None)
            else:
                self._confirmed.append((needed, on_read))

    def expire(self, now_ns: int) -> list[int]:
        """Give up what was not confirmed in time; return the tokens for the core to forget."""
        late: list[int] = []
        for token, (deadline_ns, _) in self._unconfirmed.items():
            if deadline_ns > now_ns:
                break  # tokens rise with time
            late.append(token)
        for token in late:
            self.failed(token, Unavailable("no leader confirmed the read in time; ask again"))
        return late

    def end(self, error: RaftlogError) -> None:
        """Tell everybody that the replica has ended."""
        waiting = [on_read for _, on_read in self._unconfirmed.values()]
        waiting.extend(on_read for _, on_read in self._confirmed)
        self._unconfirmed.clear()
        self._confirmed.clear()
        for on_read in waiting:
            self._tell(on_read, error)
