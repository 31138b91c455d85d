"""A run of train: what it is asked to do, and what is left of it when it has ended."""
