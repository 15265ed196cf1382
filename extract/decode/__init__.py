"""From video files to pixels: which frames, how they are cut, and who decodes them."""
