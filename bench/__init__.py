"""Programs that measure raftlog and show it at work, with the bars they are held to."""
