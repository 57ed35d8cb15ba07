"""Entry point of `python -m pyccl.sim`."""

import sys

from pyccl.sim.cli import main

sys.exit(main())
