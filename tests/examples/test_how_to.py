"""The examples of the how-to pages run as they are printed."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import free_ports
from tests.examples.console import run_page
from tests.examples.pages import examples_of, run_example
from tests.gateway.broker_cluster import until_led


def test_an_embedded_log_counts_on_after_a_restart(tmp_path: Path) -> None:
    """The second run begins where the first one ended."""
    alone, _ = examples_of("embed.md")

    first = run_example(alone, tmp_path).splitlines()
    second = run_example(alone, tmp_path).splitlines()

    assert first[:2] == ["2", "5"]
    assert first[2].split()[0] == "9"
    assert second[:2] == ["11", "14"]


@pytest.mark.long
def test_three_embedded_nodes_append_to_a_majority(tmp_path: Path) -> None:
    """Ports are the only thing changed in the example."""
    _, three = examples_of("embed.md")
    for written, free in zip(("7401", "7402", "7403"), free_ports(3), strict=True):
        three = three.replace(written, str(free))

    assert re.fullmatch(r"entry \d+ is on a majority of disks\n", run_example(three, tmp_path))


def seeded(example: str, cluster: LocalCluster) -> str:
    """Return the example with the addresses of ``cluster``; nothing else is changed."""
    found, count = re.subn(
        r"^SEEDS = .*$", lambda _: f"SEEDS = {cluster.seeds!r}", example, flags=re.MULTILINE
    )
    assert count == 1, example
    return found


@pytest.mark.long
def test_a_client_produces_and_consumes(tmp_path: Path) -> None:
    """The page's programs, one after the other: with a loop, and from a thread."""
    asynchronous, synchronous = examples_of("produce-and-consume.md")
    with LocalCluster(tmp_path) as cluster:
        printed = run_example(seeded(asynchronous, cluster), tmp_path).splitlines()
        of_thread = run_example(seeded(synchronous, cluster), tmp_path)
        example, seeks = examples_of("share-a-group.md")
        shared = run_example(seeded(example, cluster), tmp_path).splitlines()
        moved = run_example(seeded(seeks, cluster), tmp_path)

    assert printed == ["receipt orders 0 fsync", "consumed 1003", "read 1003"]
    assert of_thread == "0 0\n"
    assert shared == [
        *("assigned: [0, 1]", "revoked: [1]"),
        *("10 handed out, 10 of them different", "revoked: [0]"),
    ]
    # Whoever was handed the last record ends before it is done with it: perhaps one of queue 0.
    assert moved in ("stream [(0, 5, 2)]\n", "stream [(0, 4, 2)]\n")


@pytest.mark.long
def test_orders_become_invoices_in_one_step(tmp_path: Path) -> None:
    """Twice: what is committed is not read again."""
    (example,) = examples_of("atomic-transactions.md")
    with LocalCluster(tmp_path) as cluster:
        first = run_example(seeded(example, cluster), tmp_path).splitlines()
        second = run_example(seeded(example, cluster), tmp_path).splitlines()

    invoices = [b"invoice for order %d" % number for number in range(3)]
    assert set(first[:-1]) == {"1 index"}
    assert first[-1] == str(invoices)
    assert second[-1] == str(sorted(invoices * 2))


async def until_level(cluster: LocalCluster) -> None:
    """Wait until a new cluster's nodes have heard each other."""
    for _ in range(300):
        view = await cluster.observe()
        if {each.feature_level for each in view.nodes} == {FEATURE_LEVEL}:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the level has not been raised")


@pytest.mark.long
def test_work_is_leased_tried_again_and_given_up(tmp_path: Path) -> None:
    """Five jobs: one fails once, one can't be handled at all."""
    example, filtered, by_hand, back = examples_of("queue-groups.md")
    with LocalCluster(tmp_path) as cluster:
        printed = run_example(seeded(example, cluster), tmp_path).splitlines()
        asyncio.run(until_level(cluster))
        matching = run_example(seeded(filtered, cluster), tmp_path).splitlines()
        changed = run_example(seeded(by_hand, cluster), tmp_path).splitlines()
        again = run_example(seeded(back, cluster), tmp_path).splitlines()

    assert matching == ["b'of 250'", "b'of 900'", "refused", "version 2 passed over 2"]
    assert changed == ["b'of 4000' by version 3"]
    assert again == [
        *("from 5 to 0 in flight and again: 0", "b'of 4000'", "behind: 0.0 s"),
    ]
    done = sorted(f"done: b'job {number}' attempt 1" for number in range(3))
    assert sorted(printed[:-1]) == [*done, "done: b'job 4' attempt 2"]
    assert printed[-1] == "dead letter: b'job 3' b'no such account'"


@pytest.mark.long
def test_a_spool_takes_records_while_the_cluster_is_away(tmp_path: Path) -> None:
    """Without a cluster, with one that has no topic, and with the topic."""
    (example,) = examples_of("spool.md")
    (nobody,) = free_ports(1)
    away = example.replace("127.0.0.1:7201", f"127.0.0.1:{nobody}")
    printed = [run_example(away, tmp_path).splitlines()[-1]]
    (tmp_path / "cluster").mkdir()
    with LocalCluster(tmp_path / "cluster", nodes=1) as cluster:
        asyncio.run(cluster.ready())
        printed.append(run_example(seeded(example, cluster), tmp_path).splitlines()[-1])

        async def stored() -> list[int]:
            async with cluster.client() as client:
                await client.topics.create("orders", queues=2)
                printed.extend(run_example(seeded(example, cluster), tmp_path).splitlines())
                async with client.reader("orders", follow=False) as reader:
                    return [int((message.value or b"").split()[1]) async for message in reader]

        assert asyncio.run(stored()) == [0, 1, 2] * 3

    assert printed == [
        "the cluster is away; the next run sends them",
        "raftlog topic create orders, and run it again",
        *("9 on this disk", "the cluster has all of them"),
    ]


@pytest.mark.long
def test_a_half_message_is_committed_and_another_rolled_back(tmp_path: Path) -> None:
    """Against three processes."""
    example, by_hand = examples_of("half-messages.md")
    with LocalCluster(tmp_path) as cluster:
        printed = run_example(seeded(example, cluster), tmp_path).splitlines()
        decided = run_example(seeded(by_hand, cluster), tmp_path).splitlines()

    assert decided == ["refunds-1 refunds False", "True offset 0"]

    assert printed == [
        *("committed at offset 0", "rolled back: no money", "0 open", "b'order-7' b'paid'")
    ]


def test_a_program_manages_topics(tmp_path: Path) -> None:
    """Also what may be written."""
    (example,) = examples_of("topics.md")
    with LocalCluster(tmp_path, nodes=1) as cluster:
        asyncio.run(cluster.ready())
        refused, *printed = run_example(seeded(example, cluster), tmp_path).splitlines()

    assert refused.startswith("refused: topic 'invoices' is not writable")
    assert printed == [
        *("3 queues, kept 3 days, 0:00:00 True", "['invoices']"),
        "invoices takes ('fifo', 'delayed') and not normal",
    ]


@pytest.mark.long
def test_a_message_is_delayed_and_another_cancelled(tmp_path: Path) -> None:
    """Against three processes, by their own clocks."""
    (example,) = examples_of("delayed-messages.md")
    with LocalCluster(tmp_path) as cluster:
        due, pending, delivered = run_example(seeded(example, cluster), tmp_path).splitlines()

    assert due.startswith("due at 20")
    assert pending == "3 pending"
    assert delivered == "b'hello again'"


@pytest.mark.long
def test_the_tutorial_goes_on_where_it_was(tmp_path: Path) -> None:
    """The second run consumes what the first one has not."""
    (program,) = examples_of("../tutorial/first-topic.md")
    with LocalCluster(tmp_path) as cluster:
        first = run_example(seeded(program, cluster), tmp_path).splitlines()
        second = run_example(seeded(program, cluster), tmp_path).splitlines()

    assert len(first) == len(second) == 20
    assert first[-1] == second[-1] == "b'customer-1' b'order 9'"
    offsets = [int(line.split(", ")[1].removeprefix("offset ")) for line in first[:10]]
    assert offsets == list(range(10))


@pytest.mark.long
def test_an_id_is_stored_once_whoever_sends_it(tmp_path: Path) -> None:
    """The second client is told the first one's place."""
    program, _ = examples_of("store-once.md")
    with LocalCluster(tmp_path) as cluster:
        printed = run_example(seeded(program, cluster), tmp_path).splitlines()

    assert printed == ["True True", "[('order-17', b'42 EUR')]"]


@pytest.mark.long
def test_a_client_beyond_its_quota_waits(tmp_path: Path) -> None:
    """Everything is stored all the same."""
    (program,) = examples_of("quotas.md")
    with LocalCluster(tmp_path) as cluster:
        assert run_example(seeded(program, cluster), tmp_path) == "nightly-job 10 True\n"


@pytest.mark.long
def test_a_program_reads_through_a_filter(tmp_path: Path) -> None:
    """As a member of a group; another subscription and a bad filter are refused."""
    (program,) = examples_of("filters.md")
    with LocalCluster(tmp_path) as cluster:
        printed = run_example(seeded(program, cluster), tmp_path).splitlines()

    assert printed[:3] == ["1 b'of 250'", "2 b'of 30'", "refused"]
    assert printed[3].endswith("!= is not understood; write <>")
    assert printed[4].index("!") == printed[5].index("^")


@pytest.mark.long
def test_a_program_finds_messages(tmp_path: Path) -> None:
    """By a key, until it has enough; and by place alone."""
    (program,) = examples_of("find-messages.md")
    with LocalCluster(tmp_path, nodes=1) as cluster:
        printed = run_example(seeded(program, cluster), tmp_path).splitlines()

    assert [line.split(maxsplit=1)[1] for line in printed[:3]] == [
        "b'42 EUR'",
        "b'142 EUR'",
        "b'242 EUR'",
    ]
    assert printed[3:] == ["3 found", "first of queue 3 0"]


@pytest.mark.long
def test_a_program_traces_a_message(tmp_path: Path) -> None:
    """A delayed one, while a group has it; and one that is not there yet."""
    program, past = examples_of("trace-a-message.md")
    with LocalCluster(tmp_path, nodes=1) as cluster:
        printed = run_example(seeded(program, cluster), tmp_path).splitlines()
        history = run_example(seeded(past, cluster), tmp_path).splitlines()

    assert printed[0] == "delayed b'order-7'"
    assert printed[1].startswith("stored, to be visible later (entry ")
    assert printed[2:5] == ["due", "visible", "group sending: leased, attempt 1: the lease ends"]
    assert printed[5].startswith("delayed until 20")
    assert printed[6:] == ["cancelled"]
    assert history == [
        *("leased 1 ", "returned: an attempt has failed 1 nobody at home"),
        *("leased 2 ", "acknowledged 2 "),
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "page",
    [
        "topics.md",
        "pub-and-sub.md",
        "store-once.md",
        "quotas.md",
        "filters.md",
        "find-messages.md",
        "trace-a-message.md",
    ],
)
def test_commands_print_what_the_page_says(page: str, tmp_path: Path) -> None:
    """Each in a shell of its own, one after the other."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    with LocalCluster(directory, nodes=1) as cluster:
        asyncio.run(cluster.ready())
        run_page(page, tmp_path, ",".join(cluster.seeds))


@pytest.mark.long
def test_a_cluster_can_be_hurt_by_a_users_test(tmp_path: Path) -> None:
    """The record after the kill is acknowledged by another leader."""
    program, _ = examples_of("test-your-code.md")

    assert run_example(program, tmp_path) == "fsync True\n"


@pytest.mark.long
def test_pytest_knows_the_fixtures(tmp_path: Path) -> None:
    """Without being told: by the entry point of the package."""
    _, test = examples_of("test-your-code.md")
    (tmp_path / "test_orders.py").write_text(test, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nraftlog_cluster_scope = module\n", "utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.long
def test_a_program_with_grpc_alone_stores_once_and_reads_back(tmp_path: Path) -> None:
    """The address is the only thing changed in the example; it asks each node in turn."""
    example, transaction, dead = examples_of("use-grpc.md")
    directory = tmp_path / "cluster"
    directory.mkdir()
    with LocalCluster(directory, grpc=True) as cluster:
        for number, address in enumerate(cluster.addresses):
            source = asking(example, address.grpc).replace('"orders"', f'"orders-{number}"')
            asyncio.run(until_led(address.grpc))
            lines = run_example(source, tmp_path).splitlines()
            assert lines[:3] == ["0 fsync True", "0 None b'one'", "1 b'k' b'two'"]
            assert lines[3].startswith("NOT_FOUND there is no topic 'ordes'")
        last = asking(transaction, cluster.addresses[-1].grpc)
        assert run_example(last, tmp_path).splitlines() == ["0 2 True", "2"]
        again = asking(dead, cluster.addresses[0].grpc)
        assert run_example(again, tmp_path).splitlines() == [
            *("0 jobs 1 no such account b'pay 42 EUR'", "sent again: 1", "sent again: 0"),
            "pending: 0",
        ]


def asking(example: str, node: str) -> str:
    """Return the example with the address of a node."""
    return re.sub(r"^NODE = .*$", lambda _: f"NODE = {node!r}", example, flags=re.MULTILINE)
