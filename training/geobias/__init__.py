"""Geo-Bias Score: how far a map of values is from one without spatial pattern, neighbourhood by neighbourhood.

    from training.geobias import Rule, scores
    table = scores(frame, "hit", Rule(radius_km=100))     # a GeoDataFrame, or pairs (lon, lat) and an array
    table.unmarked_mean, table.marked_mean
    frame = frame.assign(**table.columns())

Spatial self-information of TorchSpatial (Wu et al. 2024, arXiv 2406.15658) and PyGBS: the surprisal of Moran's
numerator over a place, its neighbours and a regular background around it. `unmarked` looks at where the neighbours
lie, `marked` at the values there. High means clustered or one-sided.
"""

from training.geobias.moran import CONVENTIONS, NULLS
from training.geobias.scores import GeoBias, GeoBiasError, Rule, scores

__all__ = ["CONVENTIONS", "NULLS", "GeoBias", "GeoBiasError", "Rule", "scores"]
