"""Tensors: read shards, decode, and later encode, contrast, evaluate. Never loads Beam, GDAL or h3.

Shape suffixes: B batch, C channel, H height, W width, L tokens, D width of an embedding, Q query points, M modalities.
"""
