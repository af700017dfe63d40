"""Run directories and W&B projects as `Run` records, and what is broken in them."""
