"""One file per method; its header names the source, the equation and every deviation."""
