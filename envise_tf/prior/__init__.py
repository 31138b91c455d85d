"""The stream's prior: which classes really occur, and how often."""
