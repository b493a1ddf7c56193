"""Dumps of a Wikipedia: from SQL and XML files to a table of placed articles. No network, and no Beam."""
