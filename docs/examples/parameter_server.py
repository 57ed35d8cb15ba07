# mpirun -n 8
"""Handwritten digits, learned with a parameter server under three consistency rules, and by ring all_reduce.

mpirun -n 8 python docs/examples/parameter_server.py
"""

import argparse
import os
import signal
import sys
import time

import numpy as np

import pyccl

try:
    from sklearn.datasets import load_digits
except ImportError:
    print("skipped: the digits come with scikit-learn (pip install 'pyccl-collectives[examples]')")
    sys.exit()

EXAMPLES = """examples:
  mpirun -n 8 python docs/examples/parameter_server.py --plot loss.png
and with a rank, server and worker, that is killed half way through the last run, by MPICH's or Open MPI's mpirun:
  mpirun -disable-auto-cleanup -n 8 python -m pyccl.launch docs/examples/parameter_server.py --kill 3
  mpirun --with-ft ulfm -n 8 python -m pyccl.launch docs/examples/parameter_server.py --kill 3
"""
parser = argparse.ArgumentParser(epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--jitter", type=float, default=5.0, help="ms that a step is held up, on average (exponential)")
parser.add_argument("--kill", type=int, metavar="RANK", help="kill this rank; shards have a replica then")
parser.add_argument("--plot", metavar="FILE", help="draw loss against wall time")
options = parser.parse_args()
comm = pyccl.init(timeout=30)
me, ranks = comm.rank, comm.size
if options.kill is not None and (ranks == 1 or options.kill not in range(ranks)):
    sys.exit(f"--kill must name one of several ranks, got {options.kill} of {ranks}")

RATE, BATCH = 0.5, 16  # each rank's batch
pixels, digits = load_digits(return_X_y=True)
x, y = np.hstack([pixels / 16, np.ones((len(digits), 1))]).astype(np.float32), digits
order = np.random.default_rng(0).permutation(len(y))
learn, test = order[360:], order[:360]
mine = learn[me::ranks]
epoch = -(-len(learn) // (BATCH * ranks))  # steps, the same number on every rank
steps = epoch * options.epochs
draw = np.random.default_rng(1).standard_normal
start = {"hidden": draw((65, 512), np.float32) / 8, "output": draw((512, 10), np.float32) / 22}


def forward(w, rows):
    hidden = np.maximum(x[rows] @ w["hidden"], 0)
    odds = np.exp(hidden @ w["output"])
    return hidden, odds / odds.sum(1, keepdims=True)


def gradients(w, rows):
    hidden, error = forward(w, rows)
    error[np.arange(len(rows)), y[rows]] -= 1
    error /= len(rows)
    back = error @ w["output"].T * (hidden > 0)
    return {"hidden": x[rows].T @ back, "output": hidden.T @ error}


def train(pull, push, fatal=None):
    """Return (seconds, loss) of every epoch; `pull` returns weights, `push` takes gradients."""
    random, curve, begin = np.random.default_rng(me), [], time.perf_counter()
    for step in range(steps):
        w = pull()
        if step % epoch == 0:
            _, found = forward(w, learn)
            curve.append((time.perf_counter() - begin, -np.log(found[np.arange(len(learn)), y[learn]]).mean()))
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(random.exponential(options.jitter / 1e3))  # others use this machine, too
        push(gradients(w, random.choice(mine, BATCH)))
    return curve


def ring():
    w = {name: values.copy() for name, values in start.items()}

    def push(found):
        for name, gradient in found.items():
            w[name] -= RATE * comm.all_reduce(gradient, "avg", algorithm="ring")

    return train(lambda: w, push), w


def served(rule, fatal):
    global comm
    rate = RATE if isinstance(rule, pyccl.Sync) else RATE / ranks  # of a mean, or of every gradient
    with pyccl.ParameterServer(comm, consistency=rule, replicas=int(options.kill is not None)) as ps:
        for name, values in start.items():
            ps.table(name, init=values, optimizer=pyccl.optim.SGD(rate))

        def push(found):
            for work in [ps.push_async(name, gradient) for name, gradient in found.items()]:
                work.wait()
            ps.clock()

        curve = train(lambda: {name: ps.pull(name) for name in start}, push, fatal)
        ps.finish()
        try:
            comm.barrier()
        except pyccl.PeerLost:  # the communicator is broken, the parameter server is not
            comm = comm.shrink()
            if comm.rank == 0:
                print(f"rank {options.kill} was killed; its shard was taken over, and {comm.size} ranks went on")
        return curve, {name: ps.pull(name) for name in start}


curves = {}
for rule in (None, pyccl.Sync(), pyccl.Async(), pyccl.SSP(staleness=3)):
    name = "ring all_reduce" if rule is None else type(rule).__name__
    fatal = steps // 2 if isinstance(rule, pyccl.SSP) and me == options.kill else None
    comm.barrier()
    begin = time.perf_counter()
    curves[name], w = ring() if rule is None else served(rule, fatal)
    if comm.rank == 0:
        right = (forward(w, test)[1].argmax(1) == y[test]).mean()
        print(f"{name:16} accuracy {right:.1%}  {time.perf_counter() - begin:6.2f} s", flush=True)

if options.plot and comm.rank == 0:
    from matplotlib.figure import Figure  # pip install 'pyccl-collectives[plot]'

    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=130)
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), label=name)
    axes.set(xlabel="seconds", ylabel="loss", yscale="log", title=f"{ranks} ranks, {options.jitter:g} ms of jitter")
    axes.legend()
    figure.savefig(options.plot)
