"""Asymmetric shapes: a mistaken axis shows in them."""

SPACES = [(7, 8), (7, 8, 9)]
NETWORK_SPACES = [(17, 20), (16, 18, 17)]
