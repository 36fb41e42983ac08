"""A table in any terminal: nothing that is shown is cut or broken."""

import pytest

from raftlog.cli.output import print_table

COLUMNS = ("node", "snapshots", "data")
ROW = ("n1", 0, "/a/path/that/is/long")


@pytest.mark.parametrize("width", [60, 39, 36, 20])
def test_every_heading_and_cell_stays_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Headings were "entri / es" at 80 columns, and addresses broken in two."""
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, [ROW, ("n2", None, "")], "a title")

    shown = capsys.readouterr().out
    assert shown.startswith("a title\n")
    assert all(heading in shown for heading in COLUMNS)
    assert "/a/path/that/is/long" in shown
    is_table = "┃" in shown
    assert is_table is (width >= sum(map(len, ("node", "snapshots", ROW[2]))) + 4)
    if is_table:
        assert max(map(len, shown.splitlines())) <= width
    else:
        assert "snapshots  0\ndata       /a/path/that/is/long\n\nnode       n2\n" in shown
