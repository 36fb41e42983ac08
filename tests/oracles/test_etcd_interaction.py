"""Our cores do in etcd's published interaction traces what the traces say.

A file that is neither run nor listed here fails, and so does a listed file that
could be run: the list cannot hide a disagreement.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.oracles.datadriven import Case, parse, read_cases
from tests.oracles.etcd_cluster import (
    CannotApplyError,
    DisagreementError,
    EtcdCluster,
    Lacking,
)
from tests.oracles.folder import oracle_files

FOLDER: Final = "etcd-raft/interaction"

NOT_APPLICABLE: Final[tuple[tuple[str, Lacking, str], ...]] = (
    ("confchange_disable_validation.txt", Lacking.PRIVATE, "ours cannot be told not to check"),
    ("confchange_v1_*.txt", Lacking.MEMBERSHIP, "the core changes no membership yet"),
    ("confchange_v2_*.txt", Lacking.MEMBERSHIP, "the core changes no membership yet"),
    ("replace_leader*.txt", Lacking.MEMBERSHIP, "the core changes no membership yet"),
    (
        "campaign_learner_must_vote.txt",
        Lacking.MEMBERSHIP,
        "promotes a learner; what it proves is test_a_learner_votes_when_it_is_asked",
    ),
    (
        "snapshot_succeed_via_app_resp*.txt",
        Lacking.COMPACTION,
        "the core sends no snapshots yet, and its logs begin at their start",
    ),
    (
        "slow_follower_after_compaction.txt",
        Lacking.COMPACTION,
        "the core sends no snapshots yet, and its logs begin at their start",
    ),
    (
        "heartbeat_resp_recovers_from_probing.txt",
        Lacking.UNREACHABLE,
        "only a rejection leads back to probing here, and only who lacks entries is rejected",
    ),
    ("forget_leader*.txt", Lacking.PRIVATE, "asked for by one user of etcd, no part of Raft"),
)
"""What cannot be run: file, what it needs, why that is not here. The first match counts."""

MESSAGES_TOO: Final = {
    *("single_node.txt", "campaign.txt", "checkquorum.txt", "prevote.txt"),
    *("prevote_checkquorum.txt", "probe_and_replicate.txt", "replicate_pause.txt"),
}
"""Where messages are compared as well as states (raft_anchors.md 2.3, grade B).

Not with ``async-storage-writes``: etcd promises with the Ready what will be durable,
ours when the disk has reported it (ruling 4), so the same append is acknowledged later.
"""

HARD_STATE: Final = re.compile(r"(\s*HardState .*Commit:)(\d+)()$")
SHOWN_LAST: Final = {
    "raft-log": re.compile(r"(\d+/)(\d+)( EntryNormal .*)"),
    "status": re.compile(r"(.* match=)(\d+)(.*)"),
    "raft-state": re.compile(r"(.* Term:)(\d+)(.*)"),
}


def listed(path: Path) -> tuple[Lacking, str] | None:
    """Return why a file cannot be run, or None if it can."""
    for pattern, lacking, reason in NOT_APPLICABLE:
        if fnmatch(path.name, pattern):
            return lacking, reason
    return None


def applicable() -> list[Path]:
    """Return the files that are run."""
    return [path for path in oracle_files(FOLDER) if listed(path) is None]


def replay(cases: list[Case], *, messages: bool) -> None:
    """Run the directives of one file."""
    cluster = EtcdCluster(messages=messages)
    for case in cases:
        cluster.run(case)


def test_every_trace_that_is_not_listed_has_the_states_it_shows() -> None:
    """Grade A: roles, terms, votes, leaders, commit indexes, logs, what is applied, progress."""
    ran = {path.name: read_cases(path) for path in applicable()}
    for cases in ran.values():
        replay(cases, messages=False)

    assert ran
    assert all(ran.values()), "a trace without directives"


def test_traces_of_grade_b_have_the_messages_they_show() -> None:
    """Grade B: the multiset of messages of every directive, heartbeats left out."""
    ran = [path for path in applicable() if path.name in MESSAGES_TOO]
    for path in ran:
        replay(read_cases(path), messages=True)

    assert ran


def test_every_listed_trace_needs_what_the_list_says() -> None:
    """A listed file that could be run, or that lacks something else, does not belong there."""
    for path in oracle_files(FOLDER):
        why = listed(path)
        if why is None:
            continue
        with pytest.raises(CannotApplyError) as caught:
            replay(read_cases(path), messages=False)
        assert caught.value.lacking is why[0], path.name
        assert why[1], path.name


def falsified(cases: list[Case]) -> Iterator[tuple[list[Case], str]]:
    """Yield the trace with one wrong number in what it shows last, for every directive."""
    for at, case in enumerate(cases):
        kind = SHOWN_LAST.get(case.command, HARD_STATE)
        lines = case.expected.splitlines()
        found = [number for number, line in enumerate(lines) if kind.match(line)]
        if found:
            lines[found[-1]] = kind.sub(
                lambda found: f"{found[1]}{int(found[2]) + 1}{found[3]}", lines[found[-1]]
            )
            changed = msgspec.structs.replace(case, expected="\n".join(lines))
            yield [*cases[:at], changed], f"{case.where}: {lines[found[-1]].strip()}"


def test_a_trace_with_one_wrong_number_is_refused() -> None:
    """An oracle that agrees to everything proves nothing."""
    tried = 0
    for path in applicable():
        for cases, what in falsified(read_cases(path)):
            tried += 1
            try:
                replay(cases, messages=False)
            except DisagreementError:
                continue
            pytest.fail(f"not noticed: {what}")

    assert tried


def test_a_trace_with_one_message_more_or_less_is_refused() -> None:
    """The same for grade B."""
    tried = 0
    for path in applicable():
        if path.name not in MESSAGES_TOO:
            continue
        cases = read_cases(path)
        for at, case in enumerate(cases):
            sent = re.search(
                r"Messages:\n( *\d+->\d+ Msg(?:App|Vote|PreVote) .*\n)", case.expected
            )
            if sent is None or "[\n" in sent[1]:
                continue
            tried += 1
            less = case.expected.replace(sent[1], "", 1)
            changed = msgspec.structs.replace(case, expected=less)
            with pytest.raises(DisagreementError):
                replay([*cases[:at], changed], messages=True)

    assert tried


SETUP: Final = "add-nodes 3 voters=(1,2,3) index=2\n----\nok\n\n"


@pytest.mark.parametrize(
    ("directives", "lacking"),
    [
        (SETUP + "propose-conf-change 1\nv4\n----\nok", Lacking.MEMBERSHIP),
        (SETUP + "add-nodes 1\n----\nok", Lacking.MEMBERSHIP),
        (SETUP + "campaign 1\n----\nok\n\nstabilize\n----\nok\n\npropose 2 x\n----\nok",
         Lacking.FORWARDING),
        (SETUP + "compact 1 2\n----\nok", Lacking.COMPACTION),
        ("add-nodes 1 voters=(1) index=2 max-committed-size-per-ready=9\n----\nok",
         Lacking.PRIVATE),
    ],
)  # fmt: skip
def test_what_this_core_does_not_have_is_named(directives: str, lacking: Lacking) -> None:
    """The driver never passes over a directive in silence."""
    with pytest.raises(CannotApplyError) as caught:
        replay(list(parse(directives, "f.txt")), messages=True)
    assert caught.value.lacking is lacking


def test_an_unknown_directive_is_refused() -> None:
    """Neither run nor listed fails."""
    with pytest.raises(KeyError, match="dance"):
        replay(list(parse("dance 1\n----\nok", "f.txt")), messages=True)


HANDOVER: Final = """
add-nodes 3 voters=(1,2,3) index=5
----
ok

campaign 1
----
ok

stabilize
----
ok

transfer-leadership from=1 to=3
----
ok

stabilize
----
ok

raft-state
----
1: StateFollower (Voter) Term:2 Lead:3
2: StateFollower (Voter) Term:2 Lead:3
3: StateLeader (Voter) Term:2 Lead:3

set-randomized-election-timeout 2 timeout=4
----
ok

deliver-msgs type=MsgApp drop=(1,2)
----
ok

propose 3 "x"
----
ok

process-ready 3
----
Ready MustSync=true:
Entries:
2/8 EntryNormal "\\"x\\""
Messages:
3->1 MsgApp Term:2 Log:2/7 Commit:7 Entries:[2/8 EntryNormal "\\"x\\""]
3->2 MsgApp Term:2 Log:2/7 Commit:7 Entries:[2/8 EntryNormal "\\"x\\""]
"""


def test_directives_that_no_file_here_uses_are_run_too() -> None:
    """Other files of the same kind may be dropped into the directory."""
    text = HANDOVER.replace('"x"\n', "x\n").replace('"\\"x\\""', '"x"')
    replay(list(parse(text, "handover.txt")), messages=True)
