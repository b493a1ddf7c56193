"""Reading a finished corpus again."""
