"""A Raft-replicated commit log, and the topic store that is being built on it."""
