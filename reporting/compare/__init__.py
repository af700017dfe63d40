"""Which runs are comparable, the statistics of the comparison, and the judgements based on them."""
