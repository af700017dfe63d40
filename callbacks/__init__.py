"""One Lightning callback a file."""
