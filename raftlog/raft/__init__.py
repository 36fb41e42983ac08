"""Raft as a pure state machine: events go in, effects come out.

Nothing here reads a clock, a file, a socket or a random source.

::

    shell                              core
      |  Tick, Receive, Durable, ...     |
      | -------------------------------> |  step(event)
      |  hard state, appends, messages   |
      | <------------------------------- |  -> Effects

Rule 1: whatever decides lives here; whatever waits lives in ``raftlog.node``.
Rule 2: the same events in the same order give the same effects, always.
"""
