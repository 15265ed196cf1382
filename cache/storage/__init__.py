"""Where a store lies: a disk or object storage, behind the same calls."""
