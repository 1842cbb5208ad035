"""`vagan attribute`."""

from pathlib import Path


def attribute(run: Path, *images: Path, out: Path) -> None:
    """Effect maps of new images: what the class of interest put there, and how bright.

    For each image: the map (.npy, or NIfTI for NIfTI) of exactly the image's size, a colour overlay (.png) and
    a description (.json).

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    images
        Image files of the class of interest.
    out
        Folder for the maps.
    """
    from vagan.reporting.maps import attribute_files

    written = attribute_files(run, images, out)
    print(f"{len(written)} map{'s' if len(written) != 1 else ''} in {out}")
