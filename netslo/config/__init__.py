"""Configuration files, checked at the border; frozen dataclasses inside."""
