"""Exceptions. Each message states what is required, what was found, and what to do.

Messages name parameters in backticks; the command line writes them as its options (``vagan.cli.app``).
"""

import difflib
import errno
from collections.abc import Iterable
from importlib.util import find_spec

MAX_NAMES = 40


class VaganError(Exception):
    """A user's mistake. The command line prints it as one line and exits with ``exit_code``."""

    exit_code = 2


class ImageFileError(VaganError):
    """An image file cannot be read, or does not hold what it should."""


class ColourError(ImageFileError):
    """An image is in colour where grey ones are needed."""


class ManifestError(VaganError):
    """A table of images is incomplete or contradicts itself."""


class LeakageError(ManifestError):
    """The same subject occurs in more than one split."""


class CohortError(VaganError):
    """A cohort folder is missing, damaged, or does not fit its use."""


class ConfigError(VaganError):
    """A configuration key or value is not one that exists."""


class RunError(VaganError):
    """A run folder is missing, damaged, or belongs to another configuration."""


class ModelError(VaganError):
    """A model folder is missing, damaged, or does not fit the images."""


class OutputError(VaganError):
    """An output would overwrite something, or cannot be written."""


class DivergenceError(VaganError):
    """A loss term stopped being a finite number."""


class NotEnoughMemoryError(VaganError):
    """A training, or the map of an image, does not fit in memory."""


class PreprocessingError(VaganError):
    """A step of the preprocessing could not do its work on a scan."""


class MissingExtraError(VaganError):
    """An optional package is not installed; the message names the extra."""


class Interrupted(VaganError):  # noqa: N818
    """The user, or the system, asked a long work to stop; it was saved first."""

    exit_code = 130


def first_line(error: Exception) -> str:
    """What an error says, or its type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def reason_of(error: OSError) -> str:
    """What the operating system says, and what helps, where that is known."""
    code = errno.errorcode.get(error.errno or 0, "unknown")
    remedy = next((remedy for codes, remedy in _REMEDIES.items() if code in codes), "")
    return f"{error.strerror or error}{remedy and f'; {remedy}'}"


_REMEDIES = {
    ("ENOSPC", "EDQUOT"): "free some space, or choose another disk",
    ("EROFS",): "choose another disk",
    ("EACCES", "EPERM"): "check its permissions",
    ("EEXIST", "ENOTDIR"): "a part of the path is a file",
    ("ENAMETOOLONG",): "choose a shorter name",
    ("EMFILE",): "raise the limit of open files, such as with ulimit -n",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the most similar of the known names, or the first of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    more = f" and {len(known) - MAX_NAMES} more" if len(known) > MAX_NAMES else ""
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known[:MAX_NAMES])}{more}"


def require_extra(extra: str, *modules: str, what: str) -> None:
    """Refuse what needs optional packages while one of them is missing; name the extra that brings it."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}: pip install 'vagan[{extra}]'")
