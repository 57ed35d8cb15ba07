"""Sphinx settings. Pages that follow from the code are written to docs/generated/ first."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import pyccl  # noqa: E402  (the clone's, found through the line above)

for script in sorted(DOCS.glob("generate_*.py")):
    runpy.run_path(str(script), run_name="__main__")

project = "pyccl"
author = "the pyccl authors"
project_copyright = author
version = release = pyccl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_title = f"pyccl {release}"
html_static_path = ["_static"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "ref.python"]  # pages that begin at any level; `size` is of several classes

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures show them; numpydoc sections say them in words
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
