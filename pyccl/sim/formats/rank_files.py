"""Traces that come as one file a rank."""

from __future__ import annotations

import re
from pathlib import Path

from pyccl.errors import ConfigError
from pyccl.sim.trace import MAX_RANKS

__all__ = ["rank_files"]

MOST_NAMED = 8


def rank_files(path: str | Path, pattern: str) -> list[Path]:
    """Return the files of ranks 0, 1, … that belong to `path`.

    Parameters
    ----------
    path : str or Path
        One of the files, or a folder with one set of them. A file whose name has no rank is rank 0's, alone.
    pattern : str
        Regular expression for the end of a name; its group is the rank.

    Raises
    ------
    ConfigError
        If there are none, several sets, or a rank's file is missing.
    """
    start = Path(path)
    ending = re.compile(f"(?s)(.*){pattern}")
    own = ending.fullmatch(start.name)
    if not start.is_dir() and not own:
        return [start]
    folder = start if start.is_dir() else start.parent
    sets: dict[str, dict[int, Path]] = {}
    try:
        for file in sorted(folder.iterdir()):
            found = ending.fullmatch(file.name)
            if found and len(found[2]) < 10 and (start.is_dir() or own is None or found[1] == own[1]):
                sets.setdefault(found[1], {})[int(found[2])] = file
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error}") from error
    if len(sets) != 1:
        raise ConfigError(f"{path}: {len(sets)} sets of traces fit this name ({', '.join(sets)}); name one file of one")
    ((prefix, files),) = sets.items()
    if len(files) > MAX_RANKS:
        raise ConfigError(f"{folder / prefix}: more than {MAX_RANKS} ranks")
    most = max(files)
    if most >= len(files):
        first = [rank for rank in range(len(files) + MOST_NAMED) if rank < most and rank not in files][:MOST_NAMED]
        count = most + 1 - len(files)
        named = ", ".join(map(str, first)) + (" …" if count > len(first) else "")
        what = "the file of rank" if count == 1 else f"{count} files are missing, those of ranks"
        raise ConfigError(
            f"{folder / prefix}: {what} {named}{' is missing' if count == 1 else ''}; that of {most} is there"
        )
    return [files[rank] for rank in range(len(files))]
