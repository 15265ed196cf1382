"""Training many probes in one pass: banks with recipes of their own, plan, resume."""
