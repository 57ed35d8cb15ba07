"""A scenario: cluster, model, workers, failures, training and plan, in one TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyccl.errors import ConfigError
from pyccl.sim.cluster import Cluster
from pyccl.sim.cosimulation import Problem
from pyccl.sim.job import Strategy
from pyccl.sim.model import Model
from pyccl.sim.recovery import Recovery
from pyccl.sim.sections import SECTIONS, read_section
from pyccl.sim.settings import SettingError, last_line, line_of, read, unknown
from pyccl.sim.simulate import MOST_SEED, MOST_STEPS, simulate
from pyccl.sim.strategies import parse
from pyccl.sim.training_result import Result
from pyccl.sim.workers import Workers


@dataclass(frozen=True)
class Scenario:
    """What a scenario file says.

    Attributes
    ----------
    cluster : Cluster
    model : Model
    workers : Workers or None
    recovery : Recovery or None
    strategy : str
        As `simulate` takes it.
    steps, seed : int
    plan : mapping
        The section ``[plan]`` in SI units.
    path : str
        Of the file.

    Examples
    --------
    >>> cluster = Cluster.switch(hosts=8, nic="10 GB/s", latency="1 us")
    >>> scenario = Scenario(cluster, Model.preset("resnet50", device="V100"), strategy="ring", steps=10)
    >>> scenario.run("ps_sync(servers=2)").workers
    6
    """

    cluster: Cluster
    model: Model
    workers: Workers | None = None
    recovery: Recovery | None = None
    strategy: str = "ring"
    steps: int = 100
    seed: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    path: str = "scenario"
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    text: str = field(default="", repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Scenario:
        """Read a file.

        Raises
        ------
        ConfigError
            With file, line and what to write instead.
        """
        document, text = read(Path(path))
        return cls._parse(document, text, str(path))

    @classmethod
    def _parse(cls, document: Mapping[str, Any], text: str, path: str) -> Scenario:
        for name in document:
            if name not in SECTIONS:
                raise ConfigError(f"{path}:{line_of(text, name, name)}: {unknown(name, SECTIONS, 'a scenario')}")
        for name in ("cluster", "model", "training"):
            if name not in document:
                raise ConfigError(f"{path}:{last_line(text)}: no section [{name}]; add one")
        for name, section in document.items():
            if not isinstance(section, Mapping):
                raise ConfigError(f"{path}:{line_of(text, name)}: {name} must be a section: write [{name}]")
        with _Place(path, text, "cluster", document["cluster"]):
            cluster = Cluster.from_section(document["cluster"])
        with _Place(path, text, "model", document["model"]):
            model = Model.from_table(document["model"])
        read_sections = {}
        for name in list(SECTIONS)[2:]:
            with _Place(path, text, name, document.get(name)):
                read_sections[name] = read_section(name, document.get(name, {}))
        training = read_sections["training"]
        with _Place(path, text, "training", training):
            if "strategy" not in training:
                raise SettingError("training", "strategy is missing; write for example strategy = 'ring'")
            if training.get("steps", 1) > MOST_STEPS:
                raise SettingError("steps", f"steps must be at most {MOST_STEPS}, got {training['steps']}")
            if training.get("seed", 0) > MOST_SEED:
                raise SettingError("seed", f"seed must be at most 2^64 - 1, got {training['seed']}")
            try:
                parse(training["strategy"])
            except ConfigError as error:
                raise SettingError("strategy", str(error)) from None
        with _Place(path, text, "workers", document.get("workers"), failures=document.get("failures")):
            workers = make_workers(read_sections, cluster)
        with _Place(path, text, "recovery", document.get("recovery")):
            recovery = make_recovery(read_sections["recovery"], workers)
        with _Place(path, text, "plan", document.get("plan")):
            check_plan(read_sections["plan"])
        return cls(
            cluster, model, workers, recovery, plan=read_sections["plan"], path=path, document=document, text=text,
            **training,
        )  # fmt: skip

    def to_toml(self) -> str:
        """Return the file's sections as TOML, which `load` reads back to an equal scenario."""
        import tomlkit

        return tomlkit.dumps(self.document)

    def with_(self, **changes: Any) -> Scenario:
        """Return a copy in which some attributes differ."""
        return replace(self, **changes)

    def run(
        self, strategy: str | Strategy | None = None, *, steps: int | None = None, seed: int | None = None,
        trace_steps: int = 0, problem: Problem | None = None,
    ) -> Result:  # fmt: skip
        """Simulate it; arguments stand for what the file says.

        Raises
        ------
        ConfigError
            As `simulate`; with file and line, where the file says what is wrong.
        """
        given = {name: self.document.get(name) for name in ("training", "failures", "recovery")}
        try:
            return simulate(
                self.cluster, self.model, self.strategy if strategy is None else strategy,
                workers=self.workers, recovery=self.recovery, steps=self.steps if steps is None else steps,
                seed=self.seed if seed is None else seed, trace_steps=trace_steps, problem=problem,
            )  # fmt: skip
        except ConfigError as error:
            named = error if isinstance(error, SettingError) else SettingError("strategy", str(error))
            if not self.text or (named.key == "strategy" and strategy is not None):
                raise
            raise _Place(self.path, self.text, named.key, given.pop(named.key, None), **given).placed(named) from None


class _Place:
    """Adds file and line to the errors of a section, or of several that make one thing."""

    def __init__(self, path: str, text: str, section: str, given: Any, **more: Any) -> None:
        self.path, self.text, self.section = path, text, section
        # Of each setting its section and value.
        self.given = {
            key: (name, value)
            for name, settings in {section: given, **more}.items() if isinstance(settings, Mapping)
            for key, value in settings.items()
        }  # fmt: skip

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigError):
            raise self.placed(error) from None

    def placed(self, error: ConfigError) -> ConfigError:
        """Return the error with file and line."""
        key = error.key if isinstance(error, SettingError) else self._named(str(error))
        section, _ = self.given.get(key, (self.section, None))
        return ConfigError(f"{self.path}:{line_of(self.text, key, section)}: {error}")

    def _named(self, message: str) -> str:
        """Return the first setting that a message names, or whose value it cites."""
        words = re.findall(r"\w+", message)
        named = next((word for word in words if word in self.given), None)
        cited = (key for key, (_, value) in self.given.items() if isinstance(value, str) and repr(value) in message)
        return named or next(cited, self.section)


def make_workers(sections: Mapping[str, Mapping[str, Any]], cluster: Cluster) -> Workers | None:
    """Return the workers that the sections workers, failures and recovery describe, None where there are none."""
    slow = sections["workers"].get("slow", {})
    outside = [rank for rank in slow if rank >= cluster.size]
    if outside:
        raise SettingError("slow", f"slow: rank {outside[0]} is not in [0, {cluster.size})")
    settings = {**sections["workers"], **sections["failures"]}
    return Workers(**settings) if settings else None


def make_recovery(section: Mapping[str, Any], workers: Workers | None) -> Recovery | None:
    """Return what the section ``[recovery]`` describes, None where there is none.

    Raises
    ------
    ConfigError
        If a setting is wrong, or nothing ever fails.
    """
    if section and (workers is None or not workers.fails):
        raise SettingError(
            "recovery", "nothing fails here; write mtbf or the like in [failures], or leave [recovery] out"
        )
    return Recovery(**section) if section else None


def check_plan(plan: Mapping[str, Any]) -> None:
    """Raise SettingError where the section ``[plan]`` contradicts itself."""
    goals = [name for name in ("samples", "epochs", "noise") if name in plan]
    if len(goals) > 1:
        raise SettingError(goals[1], f"the goal is either {goals[0]} or {goals[1]}; leave one out")
    for one, other in (("epochs", "dataset"), ("noise", "least_steps")):
        if (one in plan) != (other in plan):
            missing, given = (other, one) if one in plan else (one, other)
            raise SettingError(given, f"{given} needs {missing} beside it")
    for text in plan.get("strategies", ()):
        try:
            parse(text)
        except ConfigError as error:
            raise SettingError("strategies", str(error)) from None
