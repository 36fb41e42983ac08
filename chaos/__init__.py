"""What tries to break raftlog: simulation, invariants, mutants. On top of the package."""
