"""The store: open, read, write, stream."""
