"""How long tests wait for what must come."""

LIMIT = 600.0
"""Seconds. Only what never comes takes as long: machines that do other things are slow."""
