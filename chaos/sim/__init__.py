"""Deterministic simulation: the real replicas and storage in one thread, from one seed.

Time, network, disks and clients are simulated; ``Replica``, ``RaftCore`` and
``LogStore`` are the real ones. ``python -m chaos.sim --help`` runs it.
"""
