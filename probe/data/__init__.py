"""What a probe is shown: tokens and texts from the store, splits, tasks, batches."""
