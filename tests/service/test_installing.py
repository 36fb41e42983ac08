"""Installing a snapshot: what the log is told when all files have come."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raftlog.base.entry import LogEnd
from raftlog.base.ids import Index, Term
from raftlog.base.membership import Membership
from raftlog.service.installing import Installer


@pytest.mark.parametrize("lacks_state", [False, True])
def test_the_log_begins_where_the_fetched_one_does_whatever_it_began_with(
    *, lacks_state: bool
) -> None:
    """A replica that began anew may fall behind the leader's log again (seeds 448, 472, 889).

    Its log was trimmed away at the leader's before it had come; the snapshot that it fetched
    then was not heeded, because it lacked a state already, and was offered again for ever.
    """
    told: list[LogEnd] = []
    waits: list[Callable[[], None]] = []
    keeping = SimpleNamespace(
        lacks_state=lacks_state, snapshot_fetched=lambda base, _: told.append(base)
    )
    anything: Any = SimpleNamespace(snapshots=None, index=None)
    scheduler: Any = SimpleNamespace(call_later=lambda _, call: waits.append(call))
    replica: Any = SimpleNamespace(keeping=keeping, stopped=False)
    installer = Installer(
        *(replica, anything, anything, scheduler, anything),
        on_restored=lambda *_: None,
        on_failed=lambda _: None,
    )
    base = LogEnd(Index(9_000), Term(3), 77)
    manifest: Any = SimpleNamespace(base=base, configuration=(Index(1), Membership(())))
    installer._source_of = manifest
    installer._reset_log()
    assert told == [base]
