"""From decoded frames to written tokens."""
