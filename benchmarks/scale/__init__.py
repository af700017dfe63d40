"""How costs grow with molecules, runs, trials and atoms: ``python -m benchmarks.scale``."""
