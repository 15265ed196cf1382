"""Care of whole stores: verify, repair, merge, compact, convert, compare, labels."""
