"""Run directories as `Run` objects, read through `records`, and irreps strings."""
