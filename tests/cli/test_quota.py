"""``raftlog quota``: set, shown and taken away."""

from tests.cli.conftest import Shell


def test_quotas_are_set_shown_and_removed(shell: Shell) -> None:
    """Each by a kind and a name; removing is fine twice."""
    topic = "bounded"
    shell.text("topic", "create", topic)
    set_ = shell.json("quota", "set", "--client", "job", "--bytes", "64KiB", "--records", "10")
    assert set_ == [
        {
            "kind": "client",
            "name": "job",
            "bytes_per_s": 65_536,
            "records_per_s": 10,
            "refused": 0,
        }
    ]
    shell.text("quota", "set", "--topic", topic, "--records", "5")
    assert [row["name"] for row in shell.json("quota", "list")] == ["job", topic]
    assert "64KiB" in shell.text("quota", "list")
    for _ in range(2):
        assert shell.text("quota", "remove", "--client", "job") == "client job has no quota\n"
    assert shell.json("quota", "remove", "--topic", topic) == {
        "removed": {"kind": "topic", "name": topic}
    }
    assert shell.json("quota", "list") == []


def test_a_quota_names_one_thing_and_bounds_something(shell: Shell) -> None:
    """Said before anything is asked of the cluster."""
    for wrong in (
        ("set", "--records", "5"),
        ("set", "--client", "a", "--topic", "b", "--records", "5"),
        ("set", "--client", "a"),
        ("set", "--client", "a", "--bytes", "none"),
        ("remove",),
    ):
        assert shell("quota", *wrong).code == 2
    refused = shell("quota", "set", "--topic", "nowhere", "--records", "5")
    assert refused.code == 1
    assert "there is no topic 'nowhere'" in refused.err
