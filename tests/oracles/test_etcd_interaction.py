"""Our cores do in etcd's published interaction traces what the traces say.

Every trace is run to its end, or up to the step at which our core decides otherwise
for a reason that ``Difference`` or ``Lacking`` names. For the traces that are known the
step is written down here: stopping anywhere else fails, and so does not stopping.
"""

import re
from collections.abc import Iterator
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
from tests.oracles.etcd_node import Difference
from tests.oracles.folder import oracle_files

FOLDER: Final = "etcd-raft/interaction"


class Stop(msgspec.Struct, frozen=True):
    """Where a trace cannot be followed any further."""

    where: str
    what: str
    """What is not as the trace says, or ``CANNOT_APPLY``."""
    outcome: str
    why: Difference | Lacking


CANNOT_APPLY: Final = "the directive"

WHOLE: Final = {
    *("single_node.txt", "campaign.txt", "campaign_learner_must_vote.txt", "checkquorum.txt"),
    *("prevote.txt", "probe_and_replicate.txt", "replicate_pause.txt"),
    *("async_storage_writes.txt", "slow_follower_after_compaction.txt"),
    *("snapshot_succeed_via_app_resp.txt", "confchange_v1_add_single.txt"),
    "confchange_v2_add_single_auto.txt",
}
"""Traces that are followed to their end."""

STOPS: Final = (
    # n1 removes itself from n1 n2 n3 and n2 acknowledges. There n1 still counts, so n1 and n2 are
    # enough; ours counts by the new voters n2 and n3 from the append on, and waits for n3. Either
    # is a majority that meets the next one; ours is the paper's (4.1, docs/decisions/0016).
    Stop(
        "confchange_v1_remove_leader.txt:85",
        "commit of 1",
        "ours 3, expected 5",
        Difference.COUNTED_FROM_APPEND,
    ),
    # A new leader proposes before anything of its term is committed. There both entries leave in
    # one Ready; ours has only its first one until that is committed (the flaw of one-step changes
    # that raft-dev found in 2015), and then waits for a majority of the three new voters.
    Stop(
        "confchange_v2_add_double_auto.txt:42",
        "entries of 1",
        """ours ['1/3 ""'], expected ['1/3 ""', '1/4 change']""",
        Difference.AFTER_OWN_COMMIT,
    ),
    # The joint configuration n1 n2 && n1 needs n2. There it is committed by n1 alone, n2 gets it
    # in a snapshot and only the entry that leaves it as an entry; ours must have n2's word for
    # the entry itself (4.3: from the append on both halves agree).
    Stop(
        "confchange_v2_add_double_implicit.txt:43",
        "entries of 2",
        "ours ['1/4 change', '1/5 change'], expected ['1/5 change']",
        Difference.COUNTED_FROM_APPEND,
    ),
    # There a joint configuration is left when somebody says so. Here nobody can forget to: the
    # leader appends the entry that leaves it as soon as it is committed, one entry further on.
    Stop(
        "confchange_v2_add_single_explicit.txt:41",
        "commit of 1",
        "ours 5, expected 4",
        Difference.LEFT_BY_ITSELF,
    ),
    # There a peer that could not be reached is probed by order, and must find back although it
    # lacks nothing. Here only a rejection leads to probing, and it leaves ``match`` below the
    # end: so there is always an entry to probe with. That is checked at every step of every trace.
    Stop(
        "heartbeat_resp_recovers_from_probing.txt:36",
        CANNOT_APPLY,
        Lacking.UNREACHABLE.value,
        Lacking.UNREACHABLE,
    ),
)
"""The traces that are followed up to a step, that step, and who is right there."""

MESSAGES_TOO: Final = {
    *("single_node.txt", "campaign.txt", "checkquorum.txt", "prevote.txt"),
    *("prevote_checkquorum.txt", "probe_and_replicate.txt", "replicate_pause.txt"),
    *("campaign_learner_must_vote.txt", "slow_follower_after_compaction.txt"),
    *("snapshot_succeed_via_app_resp.txt", "snapshot_succeed_via_app_resp_behind.txt"),
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


def replay(cases: list[Case], *, messages: bool) -> None:
    """Run the directives of one file."""
    cluster = EtcdCluster(messages=messages)
    for case in cases:
        cluster.run(case)


def follow(
    cases: list[Case],
) -> tuple[list[Case], tuple[str, str, str, set[Difference | Lacking]] | None]:
    """Run a trace as far as it can be followed; return what was run, and where it stopped and why.

    Raises:
        DisagreementError: And no difference between the cores can be the reason.
    """
    cluster = EtcdCluster(messages=False)
    for at, case in enumerate(cases):
        try:
            cluster.run(case)
        except CannotApplyError as error:
            return cases[:at], (error.where, CANNOT_APPLY, error.lacking.value, {error.lacking})
        except DisagreementError as error:
            if not cluster.differences:
                raise
            return cases[:at], (error.where, error.what, error.outcome, set(cluster.differences))
    return cases, None


def followed() -> Iterator[tuple[Path, list[Case]]]:
    """Yield every trace with as much of it as can be followed."""
    for path in oracle_files(FOLDER):
        yield path, follow(read_cases(path))[0]


def test_every_trace_has_the_states_it_shows() -> None:
    """Grade A: roles, terms, votes, leaders, commit indexes, logs, members, progress."""
    known = {stop.where.partition(":")[0]: stop for stop in STOPS}
    for path in oracle_files(FOLDER):
        ran, reached = follow(read_cases(path))
        assert ran, f"nothing of {path.name} can be followed"
        if path.name in WHOLE:
            assert reached is None, reached
        if path.name in known:
            stop = known[path.name]
            assert reached is not None, f"{path.name} is followed to its end: list it so"
            assert reached[:3] == (stop.where, stop.what, stop.outcome)
            assert stop.why in reached[3], reached


def test_traces_of_grade_b_have_the_messages_they_show() -> None:
    """Grade B: the multiset of messages of every directive, heartbeats left out."""
    ran = [path for path in oracle_files(FOLDER) if path.name in MESSAGES_TOO]
    for path in ran:
        replay(read_cases(path), messages=True)

    assert ran


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
    for _, whole in followed():
        for cases, what in falsified(whole):
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
    for path in oracle_files(FOLDER):
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
        (SETUP + "add-nodes 1 voters=(1,2,3,4) index=9\n----\nok", Lacking.PRIVATE),
        (SETUP + "campaign 1\n----\nok\n\nstabilize\n----\nok\n\npropose 2 x\n----\nok",
         Lacking.FORWARDING),
        (SETUP + "propose-conf-change 2\nr1\n----\nok", Lacking.FORWARDING),
        (SETUP + "report-unreachable 1 2\n----\nok", Lacking.UNREACHABLE),
        (SETUP + "forget-leader 2\n----\nok", Lacking.PRIVATE),
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


CHANGES: Final = """
add-nodes 1 voters=(1) index=3
----
INFO 1 switched to configuration voters=(1)

campaign 1
----
ok

stabilize
----
ok

propose-conf-change 1
l2
----
ok

stabilize 1
----
> 1 handling Ready
  Ready MustSync=false:
  HardState Term:1 Vote:1 Commit:5
  INFO 1 switched to configuration voters=(1) learners=(2)

propose-conf-change 1
v2 v3 r1
----
ok

propose-conf-change 1
v4
----
INFO 1 ignoring conf change

process-ready 1
----
ok

compact 1 5
----
1/6 EntryConfChangeV2 v2 v3 r1
1/7 EntryNormal ""

send-snapshot 1 2
----
1->2 MsgSnap Term:1 Log:0/0

add-nodes 1
----
INFO 2 switched to configuration voters=()

stabilize 2
----
> 2 handling Ready
  Ready MustSync=true:
  Lead:1 State:StateFollower
  HardState Term:1 Commit:5
  Snapshot Index:5 Term:1
  INFO 2 switched to configuration voters=(1) learners=(2)

raft-log 2
----
log is empty: first index=6, last index=5

raft-state
----
1: StateLeader (Voter) Term:1 Lead:1
2: StateFollower (Non-Voter) Term:1 Lead:1
"""


def test_members_snapshots_and_trims_of_other_traces_are_run() -> None:
    """A learner comes, a change within a change is refused, and a snapshot is sent by order."""
    replay(list(parse(CHANGES, "changes.txt")), messages=False)


REMOVAL: Final = """
add-nodes 3 voters=(1,2,3) index=3
----
ok

campaign 1
----
ok

stabilize
----
ok

propose-conf-change 1
r1
----
ok

process-ready 1
----
ok

stabilize 2
----
ok

stabilize 1
----
> 1 handling Ready
  Ready MustSync=false:
  HardState Term:1 Vote:1 Commit:5
"""


def test_only_where_a_difference_may_show_does_an_unknown_trace_stop() -> None:
    """Anywhere else a disagreement is one."""
    _, reached = follow(list(parse(REMOVAL, "removal.txt")))
    assert reached is not None
    assert reached[1].endswith(" of 1")
    assert Difference.COUNTED_FROM_APPEND in reached[3]
    for wrong in (
        REMOVAL.replace("stabilize 2", "raft-state\n----\n1: StateLeader (Voter) Term:9 Lead:1")
        .replace("r1", "l4")
        .replace("process-ready 1", "stabilize"),
        CHANGES.replace("Lead:1\n2:", "Lead:2\n2:"),
    ):
        with pytest.raises(DisagreementError):
            follow(list(parse(wrong, "wrong.txt")))
