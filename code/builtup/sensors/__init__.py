"""What the stored numbers of a scene mean, and how its files are found and read."""
