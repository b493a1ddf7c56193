"""From a region to a plan: places, references, shards; and what changes a plan later."""
