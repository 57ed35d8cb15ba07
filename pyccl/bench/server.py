"""`--collective ps`: the parameter server, beside pyccl's own all_reduce and two copies of memory."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from .calibrate import sleep_until_all
from .figures import HEAD, Figure, alternate, figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mpi4py import MPI
    from numpy.typing import NDArray

    from pyccl import Communicator, ParameterServer

    from .interface import Call, World

    Array = NDArray[Any]

RATE = 0.5
WINDOW = 64  # pushes that a worker has not waited for
SMALL = 1 << 10
ROUNDS = 15
LEAST_ROUNDS = 3
SECONDS = 0.3  # of a round of small pushes


class PushPull:
    """A gradient of ones to a table of zeros by every rank, in private arrays: what comes back is known."""

    def __init__(
        self, comm: Communicator, nbytes: int, replicas: int = 0, nan: Literal["raise", "pass"] = "raise"
    ) -> None:
        import pyccl

        self.ps = pyccl.ParameterServer(comm, consistency=pyccl.Sync(), replicas=replicas)
        count = nbytes // 4
        self.ps.table("w", init=np.zeros(count, np.float32), optimizer=pyccl.optim.SGD(RATE), nan=nan)
        self.gradient, self.out = np.ones(count, np.float32), np.zeros(count, np.float32)
        self.steps = self.wrong = 0

    def __call__(self) -> None:
        self.ps.push_pull("w", self.gradient, out=self.out)
        self.steps += 1

    def check(self, world: World) -> int:
        """Return how many elements are wrong, over all ranks."""
        return int(world.mpi.allreduce(int(np.count_nonzero(self.out != -RATE * self.steps))))


def push_pull(world: World, comm: Any, nbytes: int, rounds: int) -> list[Figure]:
    """Time Sync push_pull on all ranks beside all_reduce of the same bytes: as tables are by default, without the check
    of gradients, which all_reduce does not have either, and with a replica."""
    n, all_reduce, plain, copied = world.size, "all_reduce", "push_pull", "push_pull, replicas=1"
    ours = {plain: PushPull(comm, nbytes), "push_pull, nan='pass'": PushPull(comm, nbytes, nan="pass")}
    if n > 1:
        ours[copied] = PushPull(comm, nbytes, replicas=1)
    gradient = ours[plain].gradient
    result = np.empty_like(gradient)
    calls: dict[str, Call] = {all_reduce: lambda: comm.all_reduce(gradient, out=result), **ours}
    times = dict(zip(calls, alternate(world, list(calls.values()), rounds), strict=True))
    wrong = {name: one.check(world) for name, one in ours.items()}
    for one in ours.values():
        one.ps.close()
    found = [figure("sync", name, nbytes, n, "s", seconds, wrong.get(name, 0)) for name, seconds in times.items()]

    def ratio(what: str, a: str, b: str) -> Figure:
        return figure("sync", what, nbytes, n, "times", [x / y for x, y in zip(times[a], times[b], strict=True)])

    found += [ratio(f"{name} / all_reduce", name, all_reduce) for name in ours if name != copied]
    if n > 1:
        found.append(ratio("rate with replicas=1 / without", plain, copied))
    return found


@contextmanager
def group(world: World, ranks: int) -> Iterator[Any]:
    """Give the first `ranks` a communicator of their own, None to the others, who sleep meanwhile."""
    part = cast("MPI.Intracomm", world.mpi.Split(int(world.rank >= ranks), world.rank))
    inside = world.part(part) if world.rank < ranks else None
    if inside is None:
        sleep_until_all(world.mpi)
        yield None
    else:
        with inside.comm:
            yield inside
        sleep_until_all(world.mpi)
    part.Free()


def _server(
    inside: World, servers: int, body: Callable[[ParameterServer], Any], received: list[int], **table: Any
) -> Any:
    """Run `body` on the workers of dedicated servers; return what rank 0's returned, and
    the memory that the last server has taken."""
    import pyccl

    comm: Any = inside.comm
    ps = pyccl.ParameterServer(comm, servers=servers, consistency=pyccl.Async())
    for i in range(servers):  # small tables lie on one server each
        ps.table(f"w{i}", **table)
    found, before = None, _resident()
    if comm.rank in ps.workers:
        found = body(ps)
        ps.close()
    else:
        with ps.serve():
            pass
        received[0] = next(one["requests"] for one in ps.stats() if one["rank"] == comm.rank)
    received[0] = inside.mpi.allreduce(received[0])  # each server knows its own exactly, also on another node
    grown = inside.mpi.allgather(_resident() - before)[-1]  # before the tables are given back
    ps.close()
    return inside.mpi.bcast(found, root=0), grown


def asynchronous(inside: World, nbytes: int, rounds: int) -> list[Figure]:
    """Time push_pull of one worker and one server, beside two copies of the same bytes."""
    import pyccl

    gradient, out = np.ones(nbytes // 4, np.float32), np.empty(nbytes // 4, np.float32)
    other = np.empty_like(gradient)

    def body(ps: ParameterServer) -> list[list[float]]:
        def copies() -> None:
            np.copyto(other, gradient)
            np.copyto(out, other)

        def both() -> None:
            ps.push_pull("w0", gradient, out=out)

        times: list[list[float]] = [[], []]
        for k in range(rounds + 3):
            for i, call in enumerate((copies, both)):
                begun = perf_counter()
                call()
                if k >= 3:
                    times[i].append(perf_counter() - begun)
        wrong[0] = int(np.count_nonzero(out != -RATE * (rounds + 3)))
        return times

    wrong = [0]
    (copied, made), _ = _server(inside, 1, body, [0], init=np.zeros_like(gradient), optimizer=pyccl.optim.SGD(RATE))
    ratios = [b / a for a, b in zip(copied, made, strict=True)]
    return [
        figure("async", "two copies", nbytes, 2, "s", copied),
        figure("async", "push_pull", nbytes, 2, "s", made, inside.mpi.allreduce(wrong[0])),
        figure("async", "push_pull / two copies", nbytes, 2, "times", ratios),
    ]


def small_pushes(world: World, servers: int, seconds: float, rounds: int) -> list[Figure]:
    """Count at the servers the pushes of 1 KiB that all other ranks have made."""
    import pyccl

    gradient = np.ones(SMALL // 4, np.float32)
    comm: Any = world.comm
    sent, received = [0], [0]

    def body(ps: ParameterServer) -> list[float]:
        rates, name = [], f"w{comm.rank % servers}"
        for k in range(rounds + 1):
            begun, before = perf_counter(), _requests(ps)
            while perf_counter() - begun < seconds:
                for _ in range(WINDOW):
                    last = ps.push_async(name, gradient)
                last.wait()
                sent[0] += WINDOW
            rates += [(_requests(ps) - before) / (perf_counter() - begun)] if k else []
        return rates

    found, _ = _server(
        world, servers, body, received, init=np.zeros(SMALL // 4, np.float32), optimizer=pyccl.optim.SGD(1e-6)
    )
    workers = comm.size - servers
    wrong = abs(received[0] - workers * servers - world.mpi.allreduce(sent[0]))  # each leaves every server once
    return [figure("small", f"pushes, {workers} to {servers}", SMALL, comm.size, "1/s", found, wrong)]


def _requests(ps: ParameterServer) -> int:
    return sum(server["requests"] for server in ps.stats())


def zipf(rows: int, exponent: float, count: int, seed: int) -> NDArray[np.int64]:
    """Draw ids from 0 to `rows` - 1; hot ids are scattered over the range."""
    share = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -exponent)
    ranks = np.searchsorted(share, np.random.default_rng(seed).random(count) * share[-1])
    return np.asarray((ranks.astype(np.int64) * 6364136223846793005 + 1442695040888963407) % rows)


def sparse(inside: World, rows: int, rounds: int) -> list[Figure]:
    """Rate pulls and pushes of rows by the seconds that the one server was busy, after all rows are made."""
    import pyccl

    dim, batch, draws = 64, 4096, 1 << 20
    gradient, out = np.full((batch, dim), 1e-3, np.float32), np.empty((batch, dim), np.float32)

    def body(ps: ParameterServer) -> tuple[list[float], list[float]]:
        for begin in range(0, rows, batch):
            ids = np.arange(begin, min(begin + batch, rows), dtype=np.int64)
            ps.push_async("w0", gradient[: ids.size], ids=ids)
        ps.push("w0", gradient[:1], ids=np.zeros(1, np.int64))
        chosen = zipf(rows, 1.05, draws, seed=1).reshape(-1, batch)
        unique = sum(np.unique(ids).size for ids in chosen)  # what the server sees: an id of a batch is sent once
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            busy = _busy(ps)
            for ids in chosen:
                ps.pull("w0", ids=ids, out=out)
            rates[0].append(unique / (_busy(ps) - busy))
            busy = _busy(ps)
            for ids in chosen:
                last = ps.push_async("w0", gradient, ids=ids)
            last.wait()
            rates[1].append(unique / (_busy(ps) - busy))
        return rates

    (pulls, pushes), taken = _server(
        inside, 1, body, [0], sparse=True, dim=dim,
        init=pyccl.initializers.Normal(0, 0.01, seed=1), optimizer=pyccl.optim.Adagrad(0.05),
    )  # fmt: skip
    size, label = rows * dim * 8, "unique rows/busy s"
    return [
        figure("sparse", f"pull, {label}", dim * 4, 2, "1/s", pulls),
        figure("sparse", f"push, {label}", dim * 4, 2, "1/s", pushes),
        figure("sparse", "server's memory / rows, state", size, 2, "times", [taken / size]),
    ]


def _busy(ps: ParameterServer) -> float:
    return float(sum(server["busy"] for server in ps.stats()))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run_server(world: World, sizes: Sequence[int], rows: int, rounds: int | None) -> list[Figure]:
    """Time everything, printing as it comes."""
    world.say(HEAD)
    found: list[Figure] = []
    count = rounds or ROUNDS

    def tell(more: list[Figure]) -> None:
        found.extend(more)
        for one in more:
            world.say(one.line())

    for nbytes in sizes:
        tell(push_pull(world, world.comm, nbytes // 4 * 4 or 4, count))
    if world.size > 1:
        measures: tuple[Callable[[World], list[Figure]], ...] = (
            lambda pair: asynchronous(pair, 1 << 20, 10 * count),
            lambda pair: sparse(pair, rows, max(LEAST_ROUNDS, count // 3)),
        )
        for measure in measures:
            with group(world, 2) as inside:
                made = measure(inside) if inside is not None else None
            tell(world.mpi.bcast(made, root=0))
        for servers in (1, 2):
            if world.size > servers:
                tell(small_pushes(world, servers, SECONDS, count))
    return found
