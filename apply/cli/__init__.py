"""The commands `predict`, `picture`, `reproduce`, `push` and `pull`."""
