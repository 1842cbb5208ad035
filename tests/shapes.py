"""Asymmetric shapes: a mistaken axis shows in them."""

SPACES = [(7, 8), (7, 8, 9)]
# no level of a network has a first extent of exactly 2, of which the CPU's bfloat16 convolution gradients are wrong
NETWORK_SPACES = [(17, 20), (24, 18, 17)]
