"""The Earth and its services: cells, grids, rasters, photos, texts, and where they come from. No Beam, no torch."""
