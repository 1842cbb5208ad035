"""The command `vagan`: one verb per file, which imports slow packages only when it runs."""

import re
import signal
import sys
from collections.abc import Callable, Sequence
from inspect import getdoc

from cyclopts import App, CycloptsError

from vagan.cli.atrophy import atrophy
from vagan.cli.attribute import attribute
from vagan.cli.check import check
from vagan.cli.demo import demo
from vagan.cli.evaluate import evaluate
from vagan.cli.export import export
from vagan.cli.imports import adni, bids, csv, folder
from vagan.cli.options import require_effect
from vagan.cli.preprocess import preprocess
from vagan.cli.report import report
from vagan.cli.serve import serve
from vagan.cli.settings import settings
from vagan.cli.synth import synth
from vagan.cli.train import train
from vagan.errors import VaganError, reason_of

HELP = """Visual feature attribution: what does a class, such as a disease, look like in this image?

Train a map generator on two classes of images, then compute the effect of the class in each new image.

The paper's experiment, with a report:
    vagan demo

Your own images, one folder per class:
    vagan import folder SRC COHORT
    vagan train COHORT RUN                   repeat the command to resume
    vagan attribute RUN IMAGE... --out DIR

Raw brain scans:
    vagan preprocess BIDS_DIR OUT            and train on OUT/cohort
"""

VERBS = (demo, synth, atrophy, check, preprocess, train, attribute, evaluate, report, serve, export, settings)
IMPORTS = (folder, csv, bids, adni)
MAX_LINE_LENGTH = 800
LIBRARY = {
    "intensity_range": "range",
    "participants": "participant_label",
    "processes": "jobs",
    "shape": "size",
    "spacing_mm": "spacing",
}
"""Parameters of the library that options call otherwise."""

app = App(
    name="vagan",
    help=HELP,
    help_format="plaintext",
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # see `main`
)


def _description(verb: Callable[..., None]) -> str:
    """The docstring above its parameters, each paragraph on one line, so that the terminal's width breaks it."""
    paragraphs = (getdoc(verb) or "").partition("\n\nParameters\n")[0].split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


imports = App(name="import", help="Import folders, a table or a BIDS dataset as a cohort; ADNI as a table of scans.")
for verb in VERBS:
    app.command(verb, help=_description(verb))
for source in IMPORTS:
    imports.command(source, help=_description(source))
app.command(imports)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 with one line on a user's mistake, 1 on a defect of ours."""
    options: dict[str, str] = {}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    hangup = getattr(signal, "SIGHUP", None)  # the terminal was closed; not on Windows, ignored under nohup
    if hangup and signal.getsignal(hangup) == signal.SIG_DFL:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        verb, given, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        if verb in (*VERBS, *IMPORTS):  # not --help
            options = _options(arguments)
        require_effect(given.arguments, options)
        verb(*given.args, **given.kwargs)
    except CycloptsError as error:
        _fail(f"{error} (see `vagan --help`)", 2)
    except VaganError as error:
        _fail(re.sub(r"`(\w+)`", lambda name: options.get(name[1], name[1]), str(error)), error.exit_code)
    except OSError as error:  # a full disk, a name too long, a folder without permission
        _fail(f"{error.filename or 'a file'} cannot be used: {reason_of(error)}", 2)
    except MemoryError:
        _fail("this needs more memory than there is; use fewer or smaller images", 2)
    except KeyboardInterrupt:
        _fail("stopped; nothing half-written was left behind", 130)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(0)


def _options(arguments: Sequence[str] | None) -> dict[str, str]:
    """What the parameters of the verb, and of the library behind it, are called on the command line."""
    _, apps, _ = app.parse_commands(arguments)
    options = {one.field_info.name: one.names[0] for one in apps[-1].assemble_argument_collection()}
    return {parameter: options[name] for parameter, name in LIBRARY.items() if name in options} | options


def _fail(message: str, code: int) -> None:
    """Exit with one line; of a very long one, such as one quoting a huge cell, only the two ends."""
    line = " ".join(message.split())
    if len(line) > MAX_LINE_LENGTH:
        line = f"{line[: MAX_LINE_LENGTH // 2]} [...] {line[-MAX_LINE_LENGTH // 2 :]}"
    print(f"vagan: {line}", file=sys.stderr)
    sys.exit(code)
