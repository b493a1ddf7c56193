"""A trained run as a page to try: the places of a corpus embedded once, searched by text, position or picture."""
