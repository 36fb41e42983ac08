"""Go-back-N copies exactly, whatever the log loses, repeats or turns round."""

from random import Random

import pytest

from bench.window import NextOnly, SendWindow, Ticket


def test_no_more_than_the_window_is_in_flight() -> None:
    """Memory and the size of a repeat are bounded by it."""
    window = SendWindow(2)
    assert [window.take(9), window.take(9), window.take(9)] == [Ticket(0, 0), Ticket(0, 1), None]
    window.acked(Ticket(0, 0), 0)
    assert window.take(9) == Ticket(0, 2)


def test_a_failure_goes_back_to_the_first_batch_that_is_not_settled() -> None:
    """A later batch that was acked is behind a gap: the reader will drop it."""
    window = SendWindow(4)
    tickets = [window.take(9) for _ in range(3)]
    assert all(tickets)
    window.acked(Ticket(0, 0), 0)
    window.acked(Ticket(0, 2), 10)
    window.failed(Ticket(0, 1))
    assert (window.settled, window.take(9), window.take(9)) == (1, Ticket(1, 1), Ticket(1, 2))
    assert window.sent_again == 2


def test_an_acknowledgement_of_an_earlier_round_settles_nothing() -> None:
    """Its place in the log says nothing about the order of the new round."""
    window = SendWindow(4)
    window.take(9)
    window.failed(Ticket(0, 0))
    window.acked(Ticket(0, 0), 5)
    assert window.settled == 0


def test_batches_acked_out_of_log_order_are_sent_again() -> None:
    """A client that retries one refused batch may put it behind the next one."""
    window = SendWindow(4)
    window.take(9)
    window.take(9)
    window.acked(Ticket(0, 0), 50)
    window.acked(Ticket(0, 1), 20)
    assert (window.settled, window.take(9)) == (1, Ticket(1, 1))


@pytest.mark.parametrize("seed", range(30))
def test_the_reader_has_every_batch_once_in_order(seed: int) -> None:
    """The whole claim, against a log that is late, lossy, forgetful and out of order."""
    random = Random(seed)
    window = SendWindow(random.randint(1, 8))
    total = 60
    log: list[int] = []
    flying: list[Ticket] = []
    while window.settled < total:
        ticket = window.take(total)
        if ticket is not None:
            flying.append(ticket)
        if flying and random.random() < 0.6:
            ticket = flying.pop(0 if random.random() < 0.8 else random.randrange(len(flying)))
            stored = random.random() < 0.8
            if stored:
                log.append(ticket.number)
            if stored and random.random() < 0.8:
                window.acked(ticket, len(log) - 1)
            else:
                window.failed(ticket)
    reader = NextOnly()
    taken = [number for number in log if reader.accepts(number, 1)]
    assert taken == list(range(total))
    assert reader.dropped_batches == len(log) - total
