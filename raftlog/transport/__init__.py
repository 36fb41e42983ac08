"""Framed TCP: the server side and the links between peers."""
