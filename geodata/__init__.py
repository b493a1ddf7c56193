"""The Earth and its services: cells, grids, regions, rasters, photos, texts and where they come from. No Beam, no torch."""
