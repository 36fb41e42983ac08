"""What a replica makes of its directory before it takes part."""

import pytest

from raftlog.base.errors import DamagedLog
from raftlog.node.recollection import refuse_older_term
from tests.storage.logs import Logs, chain


def test_a_term_that_is_older_than_the_log_stops_the_node() -> None:
    """A disk lost the hard state that it had confirmed; both copies say the older one."""
    logs = Logs()
    logs.append(chain(2))
    refuse_older_term(logs.open())
    logs.append(chain(1, after=logs.store.end, term=2))
    with pytest.raises(DamagedLog, match=r"no term after 1, but entry 3 .* of term 2"):
        refuse_older_term(logs.open())
