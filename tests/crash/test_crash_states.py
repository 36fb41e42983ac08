"""What a power cut can leave of a log, recovered by the real code (storage.md 1 to 4)."""

import pytest

from chaos.check.crash_states import run


@pytest.mark.timeout(300)
def test_ten_thousand_crash_states_keep_the_contract() -> None:
    """Every prefix of a workload's file operations, in every crash class, recovery included."""
    assert run(states=10_000) >= 10_000
