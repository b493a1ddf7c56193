"""Looking at a finished corpus: totals, one sample, a sheet of pictures."""
