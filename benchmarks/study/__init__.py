"""The study of the published claims: its results, tables and pictures."""
