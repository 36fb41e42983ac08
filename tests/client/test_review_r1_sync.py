"""Findings of a review, for threads: each test fails as long as its finding stands."""

import threading
import time

from raftlog import sync
from raftlog.base.errors import Fenced
from raftlog.client.handing_over import Sharing
from raftlog.client.queue_consumer import HandlerEvent
from tests.client.test_atomic import visible
from tests.client.test_consumer import committed
from tests.client.test_sync import cluster
from tests.client.test_sync_halves import wait_for


def test_a_chunk_is_not_passed_over_when_one_of_its_queues_is_lost() -> None:
    """Each transaction is refused as long as the lost queue is in the chunk; then all is over."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(10):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer(
            "billing", "orders", auto_commit=False, sharing=Sharing(member="b")
        ) as consumer:
            time.sleep(0.2)
            got = [next(consumer)]
            while len({each.queue for each in got}) < 2:
                got.append(next(consumer))
            with client.consumer(
                "billing", "orders", auto_commit=False, sharing=Sharing(member="a")
            ):
                wait_for(lambda: len(consumer.status.queues) == 1)
                (kept,) = (each.queue for each in consumer.status.queues)
                fenced = 0
                client.send("orders", b"last", queue=kept)
                until = time.monotonic() + 5
                while b"last" not in visible(fake) and time.monotonic() < until:
                    message = next(consumer)
                    try:
                        with client.atomic() as tx:
                            tx.commit_offsets(consumer)
                            tx.send("out", message.value)
                    except Fenced:
                        fenced += 1
                print("handed first", [(m.queue, m.offset) for m in got], "kept", kept)
                print("fenced", fenced, "committed", committed(fake), "out", visible(fake))
                expected = [b"%02d" % number for number in range(kept, 10, 2)] + [b"last"]
                assert committed(fake)[kept] == 6
                assert [v for v in visible(fake) if v in expected] == expected


def test_a_handler_that_raises_stop_iteration_has_failed() -> None:
    """As whatever else it raises: its message is given back, and the next one is handled."""
    events: list[HandlerEvent] = []
    handled: list[bytes | None] = []

    def handle(message: object) -> None:
        handled.append(message.value)  # type: ignore[attr-defined]
        if handled[-1] == b"0":
            next(iter(()))

    with cluster(jobs=1) as fake, sync.Client(fake.seeds) as client:
        client.send("jobs", b"0")
        client.send("jobs", b"1")
        consumer = client.queue_consumer("work", "jobs", retry=[60], on_event=events.append)
        running = threading.Thread(
            target=lambda: consumer.run(handle, concurrency=1), daemon=True
        )
        running.start()
        time.sleep(3)
        seen = list(handled), [each.what for each in events], consumer.status.handling
        consumer.close()
        running.join(5)
        assert seen == ([b"0", b"1"], ["failed"], 0), seen
