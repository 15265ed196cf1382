"""Files of a store that are changed after they were written: one change at a time, none lost."""
