"""From finished shards to a finished corpus: index, manifest, card; and taking things out of one again."""
