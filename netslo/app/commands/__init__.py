"""The commands that need several floors at once."""
