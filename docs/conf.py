"""The site: `make docs` builds it into site/, from these pages and the package, without a network.

The root of the project is the source folder, so that a link leads to the same place here and in a file browser.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

project = "vagan"
author = "the vagan developers"
project_copyright = "the vagan developers, Apache-2.0"
version = release = version_of("vagan")

root_doc = "docs/index"
include_patterns = ["docs/**", "examples/*.md", "examples/*.ipynb", "benchmarks/results/*.md", "C[HO]*.md"]
exclude_patterns = [".venv*", "mutants", "site", "build", "src", "tests", "demo"]
html_additional_pages = {"index": "to-the-front-page.html"}

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "docstrings",
    "generated",
]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "vagan"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks hold the outputs of `make examples`

# references within vagan must resolve; those to other packages are not checked
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!vagan\.[\w.]+$).*"),
    ("py:.*", r"vagan\.deformation\.Vectors"),  # a type variable
    ("py:.*", r"vagan\.[\w.]*\._\w+"),  # private functions in annotations
]
suppress_warnings = ["ref.python"]  # a word between backticks that is the name of several attributes

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # an axis such as *space is no emphasis
default_role = "py:obj"
