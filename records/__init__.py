"""Every file that a run leaves: one dataclass, one reader and one writer for each.

Imports the standard library, NumPy and PyYAML only: torch would slow down comparing runs.
"""
