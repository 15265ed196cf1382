"""Extraction by more than one process: several GPUs of a machine, and Ray."""
