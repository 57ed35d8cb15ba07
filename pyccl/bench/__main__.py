"""Entry point of `python -m pyccl.bench`."""

import sys

from .cli import main

sys.exit(main())
