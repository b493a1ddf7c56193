"""What is to be built: the options, and the plan on disk."""
