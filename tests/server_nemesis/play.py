"""Runs a trial, strikes, and judges what is left.

`python -m tests.server_nemesis.play FIRST COUNT` does it for many seeds, `... FIRST COUNT mpi NODE_SIZE` over nodes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests import mpi
from tests.server_nemesis.trial import Fault, Trial, draw
from tests.server_nemesis.worker import AMOUNT, EVENT, rank_of_trial

DEADLINE = 30.0  # seconds
GOES_ON = 2.0  # seconds: the promise

Events = list[tuple[str, int, float]]


def play(trial: Trial, launcher: str = "none") -> list[str]:
    """Run a trial; return what was wrong. `launcher` is "none" (forked ranks) or "mpi"."""
    folder = tempfile.mkdtemp(prefix="server-nemesis-")
    try:
        Path(folder, "trial.json").write_text(trial.dump())
        late = _under_mpi(trial, folder) if launcher == "mpi" else _forked(trial, folder)
        return late + judge(trial, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forked(trial: Trial, folder: str) -> list[str]:
    """The ranks are children of this process, which has imported everything: they start in milliseconds."""
    pids = {}
    for rank in range(trial.size):
        pid = os.fork()
        if pid == 0:
            error = os.open(f"{folder}/{rank}.err", os.O_WRONLY | os.O_CREAT)
            os.dup2(error, 2)
            rank_of_trial(folder, rank, trial)
            os._exit(0)
        pids[rank] = pid
    running = dict(pids)

    def ended() -> bool:
        for rank, pid in list(running.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del running[rank]
        return not running

    try:
        strike(trial, folder, ended)
    finally:
        for pid in running.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return [f"ranks {sorted(running)} still ran after {DEADLINE:g} s"] if running else []


def _under_mpi(trial: Trial, folder: str) -> list[str]:
    flags = ["-disable-auto-cleanup"] if mpi.launcher().mpi == "mpich" else ["--with-ft", "ulfm"]
    done = threading.Event()
    striker = threading.Thread(target=strike, args=(trial, folder, done.is_set))
    striker.start()
    try:
        run = mpi.mpirun(
            ["-m", "pyccl.launch", "-m", "tests.server_nemesis.worker", folder],
            trial.size, flags=flags, timeout=DEADLINE, check=False,
            env={"PYCCL_NODE_SIZE": str(trial.node_size)} if trial.node_size else {},
        )  # fmt: skip
    finally:
        done.set()
        striker.join()
    return [str(run)] if run.returncode is None else []


def strike(trial: Trial, folder: str, ended: object) -> None:
    """Do what the trial has in store; let the workers read when all have finished."""
    end, left = time.monotonic() + DEADLINE, list(trial.faults)
    while not ended() and time.monotonic() < end:  # type: ignore[operator]
        alive = [rank for rank in trial.workers if rank not in trial.killed]
        steps = sum(what == "invoke" for what, _, _ in events(folder, alive[0])) if left else 0
        if left and steps >= left[0].at * trial.steps:
            time.sleep(left[0].delay)
            _strike(left.pop(0), folder)
        elif all(any(what == "finished" for what, _, _ in events(folder, rank)) for rank in alive):
            Path(folder, "go").touch()
        time.sleep(1e-3)


def _strike(fault: Fault, folder: str) -> None:
    try:
        pid = int(Path(folder, f"{fault.rank}.pid").read_text())
        os.kill(pid, signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
        if fault.kind == "stop":
            time.sleep(fault.pause)
            os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, ValueError, FileNotFoundError):
        return


def events(folder: str, rank: int) -> Events:
    path = Path(folder, f"{rank}.log")
    data = path.read_bytes() if path.exists() else b""
    whole = len(data) // EVENT.size * EVENT.size
    return [(what.rstrip(b"\0").decode(), step, at) for what, step, at in EVENT.iter_unpack(data[:whole])]


def judge(trial: Trial, folder: str) -> list[str]:
    """Return what contradicts the promises."""
    wrong = []
    values = {}
    dead = {trial.workers.index(rank) for rank in trial.killed if rank in trial.workers}
    pause = sum(fault.pause for fault in trial.faults)
    for rank in range(trial.size):
        history = events(folder, rank)
        if rank in trial.killed:
            if any(what == "finished" for what, _, _ in history):
                print(f"seed {trial.seed}: rank {rank} was killed after its end")
            continue
        kinds = [what for what, _, _ in history]
        if "raised" in kinds or "ended" not in kinds:
            path = Path(folder, f"{rank}.err")
            wrong.append(f"rank {rank} ended so: {kinds[-3:]} {path.read_text()[-1500:] if path.exists() else ''}")
            continue
        for what, step, _ in history:
            if what == "notmine" or (what == "stale" and step not in dead):
                wrong.append(f"rank {rank} read {what}: {step}")
        if rank in trial.workers:
            times = [at for what, _, at in history if what in ("begun", "invoke", "ok", "finished")]
            gap = max(np.diff(times))
            if gap > GOES_ON + pause:
                wrong.append(f"rank {rank} stood still for {gap:.2f} s")
            values[rank] = np.load(f"{folder}/{rank}.npy")
    final = next(iter(values.values()), None)
    if final is None:
        return wrong
    if any((other != final).any() for other in values.values()):
        wrong.append("two ranks read different tables after the end")
    for worker, rank in enumerate(trial.workers):
        wrong += _judge_worker(trial, final[:, worker], folder, rank)
    if trial.policy.startswith(("FedBuff", "KAsync")) and not trial.killed:
        unmade = (final == 0).sum(axis=(1, 2)).max()
        if unmade >= 2 * max(1, len(trial.servers or range(trial.size))):
            wrong.append(f"{unmade} gradients were held at the end, not fewer than one version's")
    return wrong


def _judge_worker(trial: Trial, cells: np.ndarray, folder: str, rank: int) -> list[str]:
    done = {step: at for what, step, at in events(folder, rank) if what == "ok"}
    asked = {step for what, step, _ in events(folder, rank) if what == "invoke"}
    others = [events(folder, other) for other in trial.workers if other != rank]
    alone = max(at for history in others for what, _, at in history if what in ("begun", "invoke", "ok"))
    may_miss = trial.policy.startswith(("FedBuff", "KAsync", "Sync(backup"))
    wrong = []
    for step in range(trial.steps):
        for value in set(cells[:, step].tolist()):
            if value == 0:
                if step in done and not may_miss:
                    wrong.append(f"rank {rank} step {step} was acknowledged and is lost")
            elif step not in asked:
                wrong.append(f"rank {rank} step {step} was never pushed and is {value}")
            elif not once(trial, value, done.get(step + 1, alone + 1) > alone):
                wrong.append(f"rank {rank} step {step} is {value}: not once")
    return wrong[:5]


def once(trial: Trial, value: float, alone: bool) -> bool:
    """Whether a push that was applied once can have added that; `alone`: all others ended before the worker's next."""
    workers, deaths = len(trial.workers), sum(rank in trial.workers for rank in trial.killed)
    if trial.policy == "Sync()":
        return value in {AMOUNT / n for n in range(1 if alone else workers - deaths, workers + 1)}
    if trial.policy == "Sync(backup=1)":
        return value in {AMOUNT / n for n in range(1, workers)}
    if trial.policy == "KAsync(2)":
        return value == AMOUNT / 2 or (alone and value == AMOUNT)
    if trial.policy == "FedBuff(2)":
        return 0 < value <= AMOUNT / 2
    return value == AMOUNT


def main(first: int, count: int, launcher: str = "none", node_size: int = 0) -> int:
    bad = 0
    for seed in range(first, first + count):
        begun = time.monotonic()
        trial = replace(draw(seed), node_size=node_size)
        wrong = play(trial, launcher)
        if wrong:
            bad += 1
            print(trial.dump(), *wrong[:6], sep="\n  ", flush=True)
    print(f"{count} trials, {bad} bad, the last took {time.monotonic() - begun:.1f} s")
    return bad


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4], *map(int, sys.argv[4:])) > 0)
