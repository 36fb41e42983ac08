"""Bytes to values and back, without I/O: the frame codec and the messages in it."""
