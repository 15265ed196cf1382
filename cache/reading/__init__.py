"""From parts to clips in memory: snapshots, single clips, batches, streams, reduced views."""
