"""Judgements and numbers as text for people: sentences, titles and number formats."""
