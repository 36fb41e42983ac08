"""``raftlog search``: what was found on stdout, how far it came on stderr."""

from tests.cli.conftest import Shell


def test_records_are_found_by_what_is_known_of_them(shell: Shell) -> None:
    """Each way in one command; all of what is given must hold."""
    shell.text("topic", "create", "found", "--queues", "2")
    for number in range(6):
        queue = ("--queue", str(number % 2))
        shell.text("pub", "found", f"v{number}", "--key", f"k{number // 2}", *queue)
    shell.text(
        "pub", "found", "last", "--id", "o-17", "--tag", "paid", "-H", "n=7", "--queue", "1"
    )

    ran = shell("search", "found", "--key", "k1")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.lines] == ["0:1", "1:1"]
    assert [line.split()[2:] for line in ran.lines] == [["k1", "v2"], ["k1", "v3"]]
    assert ran.err == "2 found in 7 of 7 records (100 %)\n"

    (only,) = shell("search", "found", "--id", "o-17", "--format", "%q:%o %v%n").lines
    assert only == "1:3 last"
    ran = shell("search", "found", "--filter", "n > 6", "--tag", "paid", "-o", "json")
    assert (ran.data["queue"], ran.data["offset"], ran.data["id"]) == (1, 3, "o-17")
    ran = shell("search", "found", "--from", "1", "--to", "3", "--queue", "1", "--format", "%v ")
    assert ran.out == "v3 v5 "
    ran = shell("search", "found", "--to=-1h")
    assert (ran.out, ran.err) == ("", "0 found in 0 of 0 records (100 %)\n")
    assert len(shell("search", "found", "--limit", "3").lines) == 3


def test_what_makes_no_sense_is_said(shell: Shell) -> None:
    """Before or by the cluster; a filter with its place."""
    assert shell("search", "found", "--format", "%v", "-o", "json").code == 2
    assert shell("search", "found", "--from", "yesterday").code == 2
    refused = shell("search", "found", "--filter", "n ==")
    assert refused.code != 0
    assert "^" in refused.err
    assert "no topic 'nowhere'" in shell("search", "nowhere").err
