"""The ground: errors, files, tables, the terminal, signals, memory, Ray. Knows nothing of stores."""
