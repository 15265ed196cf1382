"""What all rooms use: errors, files, tables, the terminal, signals, memory, Ray."""
