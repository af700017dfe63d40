"""Findings in plain sentences, and numbers as people write them."""
