"""What probes are built of: layers of K probes at once, and the folded read-out."""
