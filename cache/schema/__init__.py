"""What a store says of itself and of its clips: specification, manifest, rows, groups, splits."""
