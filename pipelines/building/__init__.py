"""From rows of the plan to finished shards."""
