"""Constants shared by all modules."""

BACKGROUND = -1.0  # intensity of the background of prepared images
RANGE = (-1.0, 1.0)  # of the intensities of prepared images
MAX_VALUES = 2**27
"""Most values of an image: 512 x 512 x 512, half a gigabyte in single precision. A header can claim anything, so that
larger ones are refused before memory is allocated."""

EMPTY_MAP_QUANTILE = 0.95  # quantile of the sizes of baseline images' maps up to which another map counts as empty
MANY_EMPTY = 0.1  # share of empty maps that is worth a warning
MIN_MAP_SIZE = 1e-5  # mean of |M|, in intensities from -1 to 1: no display and no score would show a smaller map
