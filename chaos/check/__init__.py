"""Invariants: one file each, fed with facts, raising ``Violation`` at the first that is broken.

They know neither the simulator nor real processes: whoever observes a cluster
feeds them. Each has unit tests with facts that violate it.
"""
