"""Runs: what a trained probe leaves, its metrics, and tables over many."""
