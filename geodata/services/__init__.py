"""Clients of the services on the network: protocols, limits, errors. They know nothing of cells or plans."""
