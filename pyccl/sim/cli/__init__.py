"""`python -m pyccl.sim`: run, compare, plan, replay, validate."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pyccl.errors import ConfigError

from . import options


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    try:
        arguments = options.parse(argv)
        status = int(arguments.command(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        return _refuse("this needs more memory than there is; fewer devices or steps need less")
    except (ConfigError, options.UsageError, OSError, ValueError) as error:
        return _refuse(" ".join(str(error).split()))


def _refuse(message: str) -> int:
    print(f"pyccl.sim: error: {message}", file=sys.stderr, flush=True)
    return 2
