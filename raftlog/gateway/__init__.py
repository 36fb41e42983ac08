"""Other protocols than our own, each on the very handlers that framed TCP calls."""
