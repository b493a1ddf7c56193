"""The report: every variant and every location encoder under one budget, on one page."""
