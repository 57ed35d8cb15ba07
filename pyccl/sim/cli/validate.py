"""`validate`: predictions beside measurements."""

from __future__ import annotations

from argparse import Namespace


def main(arguments: Namespace) -> int:
    """Compare, print the errors, and write the files asked for."""
    raise NotImplementedError
