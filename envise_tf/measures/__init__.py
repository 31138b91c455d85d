"""What networks and cascades are judged by: one measure a file."""
