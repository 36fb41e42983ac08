"""``raftlog trace``: the timeline on stdout, and what is not there as an error."""

import asyncio
from datetime import datetime

from raftlog.testing.cluster import LocalCluster
from tests.cli.conftest import Shell


def test_what_became_of_a_message(shell: Shell, cluster: LocalCluster) -> None:
    """Two of a queue-style group: one is acknowledged, one a dead letter with a past."""
    shell.text("topic", "create", "jobs", "--queues", "1")
    for number in range(2):
        shell.text("pub", "jobs", f"job {number}", "--key", f"k-{number}")

    async def work() -> None:
        async with (
            cluster.client() as client,
            client.queue_consumer("work", ["jobs"], attempts=1) as consumer,
        ):
            first, second = await consumer.receive(2, wait=10)
            await first.ack()
            await second.reject("no such account")
            async with asyncio.timeout(10):
                while (await client.queue_groups.describe("work")).dead_letters == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    asyncio.run(work())
    lines = shell("trace", "jobs", "0", "0").lines
    assert lines[0].startswith("jobs 0:0, key k-0, 5 bytes: record 1 of 1 in the batch at entry ")
    assert lines[1].startswith("sent by producer ")
    assert lines[-1].endswith("group work: finished (acknowledged; not found in %DLQ%work)")
    buried = shell("trace", "jobs", "0", "1").lines
    assert buried[-1].endswith("group work: a dead letter: %DLQ%work 0:0")

    found = shell.json("trace", "jobs", "0", "1")
    assert (found["key"], found["origin"], found["stored"]) == ("k-1", "sent", found["visible"])
    (group,) = found["groups"]
    assert (group["style"], group["dead_letter"]) == ("queue", [0, 0])
    letter = shell.json("trace", "%DLQ%work", "0", "0")
    assert (letter["origin"], letter["dead_letter_of"]) == ("dead letter", ["work", "jobs", 0, 1])

    async def restart() -> None:
        await cluster.kill("n1")
        await cluster.restart("n1")

    asyncio.run(restart())  # nothing is in memory any more: the files say the same
    assert shell.json("trace", "jobs", "0", "1") == found
    assert shell.json("trace", "%DLQ%work", "0", "0") == letter


def test_the_history_of_a_message(shell: Shell, cluster: LocalCluster) -> None:
    """Given back, leased again, acknowledged; and the log says so after a restart, too."""
    shell.text("topic", "create", "tasks", "--queues", "1")
    shell.text("pub", "tasks", "a")

    async def work() -> None:
        async with (
            cluster.client() as client,
            client.queue_consumer("crew", ["tasks"]) as consumer,
        ):
            (message,) = await consumer.receive(1, wait=10)
            await message.nack(delay=0, reason="busy")
            (message,) = await consumer.receive(1, wait=10)
            await message.ack()

    asyncio.run(work())
    shell.text("sub", "tasks", "--group", "readers", "--from", "earliest", "--count", "1")
    found = shell.json("trace", "tasks", "0", "0", "--history")
    told = [(each["kind"], each["group"], each["lease"]) for each in found["history"]]
    assert told[:4] == [
        *(("leased", "crew", 1), ("returned", "crew", 1)),
        *(("leased", "crew", 2), ("acked", "crew", 2)),
    ]
    assert ("committed", "readers", None) in told
    assert found["history"][1]["reason"] == "busy"
    assert not any(each["too_late"] for each in found["history"])

    async def restart() -> None:
        await cluster.kill("n1")
        await cluster.restart("n1")

    asyncio.run(restart())  # nothing is in memory any more: the files say the same
    assert shell.json("trace", "tasks", "0", "0", "--history")["history"] == found["history"]
    ran = shell("trace", "tasks", "0", "0", "--history", "--group", "crew")
    lines = [line for line in ran.lines if "group crew: " in line]
    assert "leased (lease 1, handle " in lines[0]
    assert "returned: an attempt has failed (lease 1, handle " in lines[1]
    assert lines[1].endswith("): busy")
    assert lines[-1].endswith("group crew: finished")
    assert not any("passed" in line for line in ran.lines)
    assert "log entries (100 %)" in ran.err
    assert "history" not in shell.json("trace", "tasks", "0", "0")
    assert shell("trace", "tasks", "0", "0", "--group", "crew").code == 2
    assert shell("trace", "7.1", "--history").code == 2


def test_what_a_hidden_message_waits_for(shell: Shell) -> None:
    """By its handle: pending, then where it came."""
    shell.text("topic", "create", "later", "--queues", "1")
    sent = shell.json("delayed", "send", "later", "remind", "--delay", "1h", "--key", "k")
    lines = shell("trace", sent["handle"]).lines
    assert lines[:2] == [f"{sent['handle']}: delayed (later, queue 0)", "a record, key k, 6 bytes"]
    assert "stored (entry " in lines[2]
    assert lines[3].endswith("due: visible from then on")
    found = shell.json("trace", sent["handle"])
    assert (found["state"], found["topic"], found["keys"]) == ("delayed", "later", ["k"])
    assert datetime.fromisoformat(found["due"]) == datetime.fromisoformat(sent["due"])

    shell.text("delayed", "cancel", sent["handle"])
    assert "cancelled: it will never be visible" in shell("trace", sent["handle"]).out
    sent = shell.json("delayed", "send", "later", "soon", "--delay", "10ms")
    shell.text("sub", "later", "--from", "earliest", "--count", "1")
    ran = shell("trace", sent["handle"])
    assert "visible at offset 0" in ran.out
    assert "raftlog trace later 0 0" in ran.err


def test_a_name_of_nothing_hidden_is_refused(shell: Shell) -> None:
    """As is a topic with a queue and no offset."""
    refused = shell("trace", "later")
    assert (refused.code, refused.out) == (1, "")
    assert "neither the handle of a delayed message nor" in refused.err
    assert shell("trace", "later", "0").code == 2


def test_what_is_not_there_is_said(shell: Shell) -> None:
    """Nothing on stdout."""
    shell.text("topic", "create", "empty", "--queues", "1")
    refused = shell("trace", "empty", "0", "0")
    assert (refused.code, refused.out) != (0, "")
    assert "offset 0 is outside 0..0" in refused.err
    assert "has no queue 3" in shell("trace", "empty", "3", "0").err
    assert "no topic 'nowhere'" in shell("trace", "nowhere", "0", "0").err
    assert shell("trace", "empty", "0", "-1").code == 2
