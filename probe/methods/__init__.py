"""One file a method; its header names the source, the equation and every deviation."""
