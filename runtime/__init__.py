"""What all rooms stand on: errors, files, tables, the terminal, signals, memory, Ray."""
