"""Files of a corpus: where they lie and what they hold. Nothing here knows of plans."""
