"""Where observations come from, by the words of the command line."""
