"""A finished corpus as a page to look at: what it knows of every place, pictures of one, and the files of the site."""
