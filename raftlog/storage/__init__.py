"""The log on disk: what a crash cannot take, and how damage is told from a torn write."""
