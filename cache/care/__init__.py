"""Maintenance of a store: verify, repair, merge, convert, compact, compare, relabel."""
