"""What surrounds a run: its name, directory, loggers, provenance and command line."""
