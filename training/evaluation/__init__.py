"""How well embeddings agree about places: galleries, retrieval, geolocation, a linear baseline, tables and plots."""
