"""From the shards of a corpus to batches of tensors."""
