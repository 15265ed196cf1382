"""The commands `predict`, `picture`, `push` and `pull`."""
