"""How fast a sparse table is on one core, and how much memory it takes: Zipf ids, Adagrad. Medians over rounds."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyccl import _core
from pyccl.initializers import Normal, table_key


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def zipf(rows: int, exponent: float, count: int, seed: int) -> NDArray[np.int64]:
    """Draw ids from 0 to `rows` - 1; hot ids are scattered over the range."""
    share = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -exponent)
    ranks = np.searchsorted(share, np.random.default_rng(seed).random(count) * share[-1])
    return (ranks.astype(np.int64) * 6364136223846793005 + 1442695040888963407) % rows


def rate(batches: list[NDArray[np.int64]], call: Callable[[NDArray[np.int64]], object]) -> float:
    """Return ids a second of this core's time: that of others on the machine does not count."""
    begin = time.thread_time()
    for ids in batches:
        call(ids)
    return sum(map(len, batches)) / (time.thread_time() - begin)


def show(name: str, rates: list[float]) -> None:
    print(
        f"{name:34} {statistics.median(rates) / 1e6:8.2f} M rows/s  ({min(rates) / 1e6:.2f} to {max(rates) / 1e6:.2f})"
    )


def fill(table: _core.SparseTable, rows: int, dim: int, batch: int) -> float:
    """Push to every row once; return rows a second."""
    gradient = np.ones((batch, dim), np.float32)
    batches = [np.arange(i, min(i + batch, rows), dtype=np.int64) for i in range(0, rows, batch)]
    return rate(batches, lambda ids: table.push(ids, gradient[: len(ids)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4096, help="ids of a request")
    parser.add_argument("--draws", type=int, default=2_000_000, help="ids of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--exponent", type=float, default=1.05)
    given = parser.parse_args()

    draws = zipf(given.rows, given.exponent, given.draws, seed=1)
    batches = [draws[i : i + given.batch] for i in range(0, len(draws), given.batch)]
    unique = [np.unique(ids) for ids in batches]
    gradient = np.full((given.batch, given.dim), 1e-3, np.float32)
    out = np.empty((given.batch, given.dim), np.float32)

    before = resident()
    optimizer = _core.Optimizer("adagrad", rate=0.05, epsilon=1e-8)
    table = _core.SparseTable(given.dim, table_key("emb"), optimizer, Normal(0, 0.01, seed=1).native())
    show("push, rows made", [fill(table, given.rows, given.dim, given.batch)])
    taken, payload = resident() - before, given.rows * given.dim * 2 * 4
    memory = f"{payload / 1e9:.3f} GB, resident {taken / 1e9:.3f} GB: {taken / payload:.3f} times"
    print(f"{given.rows} rows and state {memory}; reported {table.counts()['bytes'] / payload:.3f} times")

    print(f"a request has {given.batch} ids, {np.mean([len(ids) for ids in unique]):.0f} of them unique")
    measured: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, ids, call in (
            ("pull, with duplicates", batches, lambda ids: table.pull(ids, out[: len(ids)])),
            ("pull, unique ids", unique, lambda ids: table.pull(ids, out[: len(ids)])),
            ("push, unique ids", unique, lambda ids: table.push(ids, gradient[: len(ids)])),
            ("sum of duplicates", batches, lambda ids: _core.sparse_sum(ids, gradient[: len(ids)])),
        ):
            measured.setdefault(name, []).append(rate(ids, call))
    for name, rates in measured.items():
        show(name, rates)


if __name__ == "__main__":
    main()
