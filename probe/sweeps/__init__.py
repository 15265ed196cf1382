"""Many settings of many methods: expanded, planned, run here or on a cluster."""
