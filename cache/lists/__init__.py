"""Lists that people hand over: what their cells mean, and which lines name no clip of a store."""
