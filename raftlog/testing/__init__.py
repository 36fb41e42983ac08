"""What a user needs to try and to measure raftlog: clusters of processes, and the bench."""
