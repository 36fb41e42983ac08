"""The bench: what the figures of this project mean, as code (ruling 35).

A figure counts only for a run that was read back afterwards and found equal,
record by record, to what was acknowledged.
"""
