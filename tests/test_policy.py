"""The consistency rules by themselves: against a naive model that asks the definitions, and worked examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccl import _core
from pyccl.errors import ConfigError
from pyccl.policy import SSP, Async, BoundedDelay, FedBuff, KAsync, Policy, SoftSync, Sync


@dataclass
class Naive:
    """Who is where, in lists that are searched anew each time; `policy` says which definition holds."""

    policy: Policy
    size: int
    version: int = 0
    waiting: list[int] = field(default_factory=list)
    at_work: dict[int, int] = field(default_factory=dict)  # worker: version read
    floor: dict[int, int] = field(default_factory=dict)  # worker let go: version then
    held: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = [0.0] * self.size
        self.here = set(range(self.size))

    def may_begin(self, worker: int) -> bool:
        match self.policy:
            case SSP(staleness=s) | BoundedDelay(tau=s):
                return min(self.clock[q] for q in self.here) >= self.clock[worker] - s
            case Async(max_staleness=int(k), beyond="wait"):
                others = list(self.floor.values())
                oldest = min([*others, self.version])
                return self.version + len(others) - oldest <= k
            case Sync() | KAsync():
                return worker not in self.held
        return True

    def wanted(self) -> int:
        match self.policy:
            case Sync(backup=b):
                return self.size - b
            case KAsync(k=k) | FedBuff(k=k):
                return k
            case SoftSync(n=n):
                return self.size // n
        return 1

    def settle(self) -> bool:
        """Make a version if one is due."""
        due = len(self.held) >= self.wanted()
        if isinstance(self.policy, (Sync, KAsync)):
            due = due or not self.here - set(self.held)
        if not self.held or not due:
            return False
        self.version += 1
        self.held = []
        return True

    def release(self) -> list[int]:
        let_go = []
        for worker in list(self.waiting):
            if not self.may_begin(worker):
                break
            self.waiting.remove(worker)
            self.floor[worker] = self.version
            let_go.append(worker)
        return let_go

    def outdated(self) -> list[int]:
        return sorted(self.at_work) if isinstance(self.policy, Sync) else []

    def push(self, worker: int) -> tuple[str, int, list[int]]:
        staleness = self.version - self.at_work.pop(worker)
        self.clock[worker] += 1
        match self.policy:
            case Async(max_staleness=int(k)):
                dropped = staleness > k
            case Sync():
                dropped = staleness > 0
            case _:
                dropped = False
        self.floor.pop(worker)
        if dropped:
            return "dropped", staleness, []
        self.held.append(worker)
        made = self.settle()
        return "applied" if made else "held", staleness, self.release() + (self.outdated() if made else [])

    def leave(self, worker: int) -> list[int]:
        self.here.discard(worker)
        self.at_work.pop(worker, None)
        self.floor.pop(worker, None)
        if worker in self.waiting:
            self.waiting.remove(worker)
        self.clock[worker] = math.inf
        if not self.here and isinstance(self.policy, (SSP, BoundedDelay)):
            return []
        made = isinstance(self.policy, (Sync, KAsync)) and self.settle()
        return self.release() + (self.outdated() if made else [])


POLICIES = st.one_of(
    st.builds(Sync, backup=st.integers(0, 2)),
    st.builds(Async, max_staleness=st.none() | st.integers(0, 6), beyond=st.sampled_from(["drop", "wait"])),
    st.builds(SSP, staleness=st.integers(0, 4)),
    st.builds(BoundedDelay, tau=st.integers(0, 4)),
    st.builds(KAsync, k=st.integers(1, 3)),
    st.builds(SoftSync, n=st.integers(1, 3)),
    st.builds(FedBuff, k=st.integers(1, 7)),
)


@settings(max_examples=400, deadline=None)
@given(policy=POLICIES, size=st.integers(3, 6), data=st.data())
def test_a_rule_is_its_definition(policy: Policy, size: int, data: st.DataObject) -> None:
    rule, naive = policy.rule(size), Naive(policy, size)
    idle, granted = set(range(size)), set[int]()
    for _ in range(data.draw(st.integers(0, 60))):
        worker = data.draw(st.sampled_from(range(size)))
        if worker not in naive.here:
            with pytest.raises(RuntimeError, match="has left"):
                rule.push(worker)
            continue
        if data.draw(st.integers(0, 19)) == 0:
            rule.leave(worker)
            idle.discard(worker)
            granted.discard(worker)
            assert rule.released == naive.leave(worker)
            granted |= set(rule.released) - set(naive.at_work)
        elif worker in idle:
            may = naive.may_begin(worker)
            assert rule.request(worker) == may
            idle.remove(worker)
            if may:
                naive.floor[worker] = naive.version
                granted.add(worker)
            else:
                naive.waiting.append(worker)
        elif worker in granted:
            granted.remove(worker)
            assert rule.begin(worker) == naive.version
            naive.at_work[worker] = naive.version
        elif worker in naive.at_work:
            verdict = rule.push(worker)
            fate, staleness, let_go = naive.push(worker)
            assert (verdict.fate, verdict.staleness, rule.released) == (fate, staleness, let_go)
            granted |= set(let_go) - set(naive.at_work)
            idle.add(worker)
        assert rule.version == naive.version
        check_promises(policy, rule, naive)


def check_promises(policy: Policy, rule: _core.PolicyRule, naive: Naive) -> None:
    """What a policy promises whatever happens."""
    if isinstance(policy, (SSP, BoundedDelay)) and naive.here:
        s = policy.staleness if isinstance(policy, SSP) else policy.tau
        clocks = [rule.clock(worker) for worker in naive.here]
        assert max(clocks) - min(clocks) <= s + 1
    if isinstance(policy, Async) and policy.beyond == "wait" and policy.max_staleness is not None:
        reads = naive.at_work.values()
        assert all(naive.version - read <= policy.max_staleness for read in reads)
    if isinstance(policy, Sync):
        late = [worker for worker, read in naive.at_work.items() if read != naive.version]
        assert late == [worker for worker in naive.at_work if rule.outdated(worker)]


def start(policy: Policy, workers: int) -> _core.PolicyRule:
    rule = policy.rule(workers)
    for worker in range(workers):
        if rule.request(worker):
            rule.begin(worker)
    return rule


def test_late_workers_restart_on_the_new_version() -> None:
    """The first N gradients labelled t count; a later one labelled t is dropped, not applied to t + 1."""
    rule = start(Sync(backup=2), 5)
    assert [rule.push(worker).fate for worker in (4, 1)] == ["held", "held"]
    assert not rule.request(4)
    assert rule.push(0).fate == "applied"
    assert rule.released == [4, 2, 3]
    assert rule.outdated(2)
    assert rule.begin(2) == 1
    assert rule.push(3).fate == "dropped"
    assert rule.push(2).fate == "held"


def test_a_gradient_weighs_what_its_rule_says() -> None:
    assert start(Sync(backup=1), 5).push(0).weight == 1 / 4
    soft = start(SoftSync(n=2), 4)  # a version of two gradients
    weights = []
    for worker in (0, 0, 0, 0, 0, 0, 1):
        weights.append(soft.push(worker).weight)
        assert soft.request(worker)
        soft.begin(worker)
    assert weights[-1] == 1 / 2 / 3
    aware = {"inverse": start(Async(weighting="inverse"), 4), "root": start(Async(weighting="inverse_root"), 4)}
    shares = {name: [rule.push(worker).weight for worker in range(4)] for name, rule in aware.items()}
    assert shares["inverse"] == [1, 1, 1 / 2, 1 / 3]
    assert shares["root"] == pytest.approx([1, 1 / math.sqrt(2), 1 / math.sqrt(3), 1 / 2])
    buffered = start(FedBuff(k=2), 2)
    for _ in range(6):
        buffered.push(0)
        assert buffered.request(0)
        buffered.begin(0)
    assert buffered.push(1).weight == pytest.approx(1 / 2 / math.sqrt(1 + 3))


def test_who_has_left_holds_nobody_up() -> None:
    rule = start(SSP(staleness=0), 3)
    rule.push(0)
    assert not rule.request(0)
    rule.leave(1)
    rule.push(2)
    assert rule.released == [0]
    rule = start(KAsync(k=3), 3)
    rule.push(0)
    rule.push(1)
    rule.leave(2)
    assert rule.version == 1


def test_steps_out_of_order_are_refused() -> None:
    rule = Async().rule(2)
    with pytest.raises(RuntimeError, match="may not begin"):
        rule.begin(0)
    with pytest.raises(RuntimeError, match="has not begun"):
        rule.push(0)
    assert rule.request(0)
    with pytest.raises(RuntimeError, match="has not pushed"):
        rule.request(0)
    with pytest.raises(IndexError, match="worker must be in"):
        rule.request(2)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Sync(backup=-1), "backup"),
        (lambda: Sync(backup=3).rule(3), "a backup of 3 needs more than 3 workers"),
        (lambda: Async(max_staleness=-1), "max_staleness"),
        (lambda: Async(beyond="stop"), "beyond"),
        (lambda: Async(weighting="no"), "weighting"),
        (lambda: SSP(staleness=1.5), "staleness"),  # type: ignore[arg-type]
        (lambda: BoundedDelay(tau=True), "tau"),
        (lambda: KAsync(k=0), "k must be"),
        (lambda: KAsync(k=4).rule(3), "at least 4 workers"),
        (lambda: SoftSync(n=4).rule(3), "at least 4 workers"),
        (lambda: FedBuff(k=1 << 40), "k must be"),
    ],
)
def test_bad_parameters(make: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()  # type: ignore[operator]
