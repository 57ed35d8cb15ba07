"""Kills and stops while thousands of pushes are on their way: none acknowledged is lost, none applied twice."""

from __future__ import annotations

import pytest

from tests import mpi
from tests.server_nemesis.play import play
from tests.server_nemesis.trial import POLICIES, Fault, Trial, draw

SEEDS = 24  # in every run; `python -m tests.server_nemesis.play FIRST COUNT` takes as many as there is time for


def test_a_trial_follows_from_its_seed() -> None:
    assert draw(7) == draw(7) != draw(8)
    assert Trial.load(draw(7).dump()) == draw(7)
    assert {draw(seed).policy for seed in range(60)} == set(POLICIES)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_push_is_lost_or_applied_twice(seed: int) -> None:
    assert play(draw(seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 260, 20))
def test_many_trials(first: int) -> None:
    assert {seed: wrong for seed in range(first, first + 20) if (wrong := play(draw(seed)))} == {}


@pytest.mark.parametrize("again", range(3))
@pytest.mark.parametrize("policy", ["Sync()", "KAsync(2)"])
def test_two_shards_of_one_server_wait_for_nothing_of_each_other(policy: str, again: int) -> None:
    """Who takes over a shard gets its requests again, by each client in another place among those for its own."""
    kill = Fault("kill", 2, 0.3 + 0.2 * again, again * 1e-3)
    stop = Fault("stop", 0, 0.1, 0.0, 0.1)
    assert play(Trial(again, 4, [], 1, policy, 300, 100, 1, [stop, kill])) == []


@pytest.mark.mpi
@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("policy", ["Async()", "SSP(2)", "Sync()"])
def test_ranks_of_mpi_survive(policy: str, victim: int) -> None:
    mpi.launcher()
    trial = Trial(victim, 4, [], 1, policy, 20, 400, 1, [Fault("kill", victim, 0.4, 1e-3)])
    assert play(trial, "mpi") == []


@pytest.mark.parametrize("policy", ["Async()", "SSP(2)"])
def test_replicas_of_replicas_in_a_circle_do_not_wait_for_each_other(policy: str) -> None:
    assert play(Trial(0, 3, [], 2, policy, 20, 400, 1, [])) == []


def test_shards_do_not_choose_apart_whom_a_version_is_made_of() -> None:
    assert play(Trial(0, 4, [], 0, "KAsync(2)", 300, 100, 64, [])) == []
