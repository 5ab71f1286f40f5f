"""What is computed of runs: selection, cautions, intervals, bands, results."""
