"""A part: the folder of token files and index that a writer commits in one rename."""
