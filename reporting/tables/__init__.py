"""The tables of a group of runs, the same for the page, the CSV files and W&B."""
