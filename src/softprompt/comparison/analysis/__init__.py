"""Statistics of finished runs: aggregation, paired tests and the metadata of a report."""
