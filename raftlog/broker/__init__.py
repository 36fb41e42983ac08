"""The deterministic machine that committed entries feed."""
