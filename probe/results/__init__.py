"""What a finished run leaves behind, and the tables and statistics made of it."""
