"""Published experiments as commands: recipes, their checks, and the comparison at the end."""
