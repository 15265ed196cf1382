"""Probes and stores given to others, and what came from them checked."""
