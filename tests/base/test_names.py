"""Names: one rule for client and broker."""

import pytest

from raftlog.base.errors import BadName
from raftlog.base.names import check_name


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "_x", "a__b", "a%"[:1], "x" * 127])
def test_a_user_may_call_it_so(name: str) -> None:
    """Dots and dashes are how people group topics."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "x" * 128, "a b", "a/b", "a%", "é", "a\n", "\n", "%a", "__a", "\ud800", "a\0"]
)
def test_a_user_may_not_call_it_so(name: str) -> None:
    """The text names what is wrong and stays short, whatever came."""
    with pytest.raises(BadName, match="group name") as caught:
        check_name(name, "group")
    assert len(str(caught.value)) < 200
