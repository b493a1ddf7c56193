"""What runs a pipeline: Beam on this machine or on others, and what it says and counts."""
