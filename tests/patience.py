"""How long tests wait for what must come."""

LIMIT = 400.0
"""Seconds, fewer than pytest gives a test. Only what never comes takes as long."""
