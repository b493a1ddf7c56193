"""What a plan will cost, without reading more than a few observations of it."""
