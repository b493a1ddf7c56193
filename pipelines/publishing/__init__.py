"""What a finished corpus says of itself to the world: card, credits, Croissant and STAC."""
