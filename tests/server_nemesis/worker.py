"""What a rank of a trial does; everything that happens goes to a file of its own at once."""

from __future__ import annotations

import os
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import pyccl
from tests.processes import FileBootstrap
from tests.server_nemesis.trial import Trial

AMOUNT = 60.0  # a mean over 1 to 5 workers is exact
EVENT = struct.Struct("<8sqd")  # what, step, time
PATIENCE = 10.0  # seconds; no trial should need them


def logger(folder: str, rank: int) -> Callable[[str, int], None]:
    fd = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def log(what: str, step: int = -1) -> None:
        os.write(fd, EVENT.pack(what.encode(), step, time.monotonic()))

    return log


def rank_of_trial(folder: str, rank: int, trial: Trial) -> None:
    """Run one rank to its end, with a bootstrap of files."""
    bootstrap = FileBootstrap(folder + "/start", rank, trial.size)
    perform(folder, trial, pyccl.Communicator.from_bootstrap(bootstrap, timeout=PATIENCE))


def perform(folder: str, trial: Trial, comm: pyccl.Communicator) -> None:
    log = logger(folder, comm.rank)
    ps: Any = None
    try:
        Path(folder, f"{comm.rank}.pid").write_text(str(os.getpid()))
        policy = eval(f"pyccl.{trial.policy}")
        ps = pyccl.ParameterServer(
            comm, servers=trial.servers or "colocated", consistency=policy, replicas=trial.replicas
        )
        shape = (trial.copies, len(trial.workers), trial.steps)
        ps.table("w", init=np.zeros(shape, np.float32), optimizer=pyccl.optim.SGD(1.0))
        log("begun")
        if comm.rank in ps.workers:
            work(ps, ps.workers.index(comm.rank), trial, log)
            ps.finish()
            log("finished")
            wait_for(Path(folder, "go"))
            np.save(f"{folder}/{comm.rank}.npy", ps.pull("w"))
            counts, applied, dropped = ps._endpoint.seen(0)
            np.save(f"{folder}/{comm.rank}.seen.npy", [sum(counts), applied, dropped])
        else:
            with ps.serve():
                pass
        ps.close()
        log("ended")
    except BaseException:
        traceback.print_exc()
        print("server:", ps and ps._endpoint.failure(), file=sys.stderr)
        sys.stderr.flush()
        log("raised")


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path.name)
        time.sleep(2e-3)


def work(ps: Any, me: int, trial: Trial, log: Callable[[str, int], None]) -> None:
    clocked = trial.policy.startswith(("SSP", "BoundedDelay"))
    bound = {"SSP(2)": 2, "BoundedDelay(1)": 1}.get(trial.policy)
    own = trial.policy == "Async()" or clocked
    gradient = np.zeros((trial.copies, len(trial.workers), trial.steps), np.float32)
    seen = np.empty_like(gradient)
    flying: deque[tuple[int, Any]] = deque()

    def look(step: int, mine: int) -> None:
        if own and not (seen[:, me, :mine] == AMOUNT).all():
            log("notmine", step)
        for other in range(len(trial.workers)):
            if bound is not None and not (seen[:, other, : max(0, step - bound)] == AMOUNT).all():
                log("stale", other)

    for step in range(trial.steps):
        if trial.window == 1 or step % 16 == 0:
            ps.pull("w", out=seen)
            look(step, step)
        gradient[:, me, step] = -AMOUNT
        log("invoke", step)
        if trial.window == 1 and step % 2:
            ps.push_pull("w", gradient, out=seen)
            log("ok", step)
            look(step, step + 1)
        else:
            flying.append((step, ps.push_async("w", gradient)))
        gradient[:, me, step] = 0
        while len(flying) >= trial.window:
            first, ticket = flying.popleft()
            ticket.wait()
            log("ok", first)
        if clocked:
            ps.clock()
    for step, ticket in flying:
        ticket.wait()
        log("ok", step)


if __name__ == "__main__":
    _trial = Trial.load(Path(sys.argv[1], "trial.json").read_text())
    perform(sys.argv[1], _trial, pyccl.init(timeout=PATIENCE))
    os._exit(0)  # MPI's own end would wait for the dead
