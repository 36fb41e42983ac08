"""The chaos suite on real processes (L6): nodes behind proxies, faults, histories, a report."""
