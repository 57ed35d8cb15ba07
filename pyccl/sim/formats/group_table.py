"""The process groups that the traces of a job name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyccl.errors import ConfigError
from pyccl.sim.trace import WORLD, Group

__all__ = ["GroupTable"]

MAX_GROUPS = 1 << 16


class GroupTable:
    """Numbers the groups by first appearance, 0 being all ranks.

    Members are those that the user gives, else those that the traces list, else the ranks whose traces name the group.
    """

    def __init__(self, given: Mapping[str, Sequence[int]] | None = None) -> None:
        self.given = given or {}
        self.numbers: dict[str, int] = {}
        self.used: list[set[int]] = []
        self.listed: list[tuple[int, ...]] = []

    def number(self, name: str, rank: int, ranks: Sequence[int] = ()) -> int:
        """Return the number of the group that `rank` calls `name` and says to have `ranks`."""
        number = self.numbers.setdefault(name, len(self.used) + 1)
        if number > len(self.used):
            self.used.append(set())
            self.listed.append(())
        self.used[number - 1].add(rank)
        if ranks:
            self.listed[number - 1] = tuple(sorted(set(ranks)))
        return number

    def groups(self, told: int, size: int, source: str) -> tuple[Group, ...]:
        """Return the groups of a trace of `size` ranks of which `told` have columns.

        Raises
        ------
        ConfigError
            If a group has ranks that do not exist, or there are too many groups.
        """
        if len(self.used) > MAX_GROUPS:
            raise ConfigError(f"{source}: names {len(self.used)} groups, the most is {MAX_GROUPS}")
        out = [WORLD]
        for name, used, listed in zip(self.numbers, self.used, self.listed, strict=True):
            ranks = tuple(sorted(set(self.given.get(name, listed or tuple(used)))))
            if not ranks or ranks[0] < 0 or ranks[-1] >= size:
                raise ConfigError(f"{source}: group {name!r} must have ranks in [0, {size}), got {ranks[:4]}…")
            out.append(_group(name, ranks, used == set(range(told)), told, size, source))
        return tuple(out)


def _group(name: str, ranks: tuple[int, ...], of_all: bool, told: int, size: int, source: str) -> Group:
    if len(ranks) == size or (of_all and len(ranks) == told and ranks[-1] < told):
        return Group(name=name)
    if ranks[-1] < told:
        return Group(len(ranks), ranks=ranks, name=name)
    stride = ranks[1] - ranks[0] if len(ranks) > 1 else 1
    block = stride * len(ranks)
    if ranks != tuple(range(ranks[0], ranks[0] + block, stride)) or ranks[0] % block >= stride or size % block:
        raise ConfigError(
            f"{source}: group {name!r} has ranks {ranks[:8]} of which no trace is there, and they are no regular "
            f"pattern of {size} ranks; give the traces of all ranks"
        )
    return Group(len(ranks), stride, name=name)
