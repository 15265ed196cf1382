"""Object storage, and the local disk cache before it."""
