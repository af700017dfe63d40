"""Comparing runs: read them, group them, say and draw what they show, save it in W&B."""
