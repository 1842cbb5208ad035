"""The command `vagan`: one verb per file, imported only when it is used."""

import ast
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from vagan.errors import VaganError

HELP = """What does this class look like in this image?

Train a map generator on two classes of images, and see for each new image what its class put there.

The paper's experiment, with a report:
    vagan demo

Your own images, a folder for each class:
    vagan import folder SRC COHORT
    vagan train COHORT RUN                   the same command again resumes
    vagan attribute RUN IMAGE... --out DIR

Raw brain scans:
    vagan preprocess BIDS_DIR OUT            and train on OUT/cohort
"""

VERBS = (
    "demo",
    "synth",
    "atrophy",
    "check",
    "preprocess",
    "train",
    "attribute",
    "evaluate",
    "report",
    "serve",
    "export",
)

IMPORTS = ("folder", "csv", "bids", "adni")

LONGEST_LINE = 800

app = App(
    name="vagan",
    help=HELP,
    help_format="plaintext",
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # told below
)


def _add(to: App, module: str, verb: str) -> None:
    """Add the function of this name, without importing it: its description is read from the file."""
    source = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    function = next(node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == verb)
    description = (ast.get_docstring(function) or "").partition("\n\nParameters\n")[0]
    paragraphs = (" ".join(paragraph.split()) for paragraph in description.split("\n\n"))
    to.command(f"vagan.cli.{module}:{verb}", name=verb, help="\n\n".join(paragraphs))


for verb in VERBS:
    _add(app, verb, verb)
imports = App(
    name="import", help="Make a cohort from your own images: from folders, a table, a BIDS dataset or ADNI."
)
for source in IMPORTS:
    _add(imports, "imports", source)
app.command(imports)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 on a user's mistake, told in one line, 1 on our own fault."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(f"{error} (see `vagan --help`)", 2)
    except VaganError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:  # a full disk, a name too long, a folder without permission
        _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}; choose another place", 2)
    except MemoryError:
        _fail("this needs more memory than there is; use fewer or smaller images", 2)
    except KeyboardInterrupt:
        _fail("stopped; nothing half-written was left behind", 130)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(0)


def _fail(message: str, code: int) -> None:
    """End with one line; of a very long one, such as a cell of megabytes makes, the beginning and the remedy."""
    line = " ".join(message.split())
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 2 :]}"
    print(f"vagan: {line}", file=sys.stderr)
    sys.exit(code)
