"""Judging rankers: metrics with ties, paired comparisons, gates, the ledger of looks and the report."""
