"""The shell round the Raft core: it waits, the core decides."""
