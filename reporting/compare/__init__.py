"""Runs grouped into sets, and the statistics that compare them."""
