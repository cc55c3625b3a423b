"""Showing: what people look at."""
