"""`replay`: a trace on a cluster."""

from __future__ import annotations

from argparse import Namespace


def main(arguments: Namespace) -> int:
    """Run a trace in virtual time, print what came of it, and write the files asked for."""
    raise NotImplementedError
