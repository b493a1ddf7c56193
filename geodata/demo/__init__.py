"""The demo region: a seeded landscape that does not exist, seen in five views and written as a folder source."""
