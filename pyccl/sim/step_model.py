"""How long a synchronous data-parallel step takes, fitted to measured steps on few nodes, for more of them.

A step computes; its backward pass overlaps with one ring all_reduce over all devices, on a cluster whose hosts have one
interface each. What is fitted: a cluster (rate, latency and spread of its links), and a model's compute times.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType

import numpy as np

from pyccl.cost import Hockney, predict
from pyccl.sim.cluster import Cluster
from pyccl.sim.fitting import fit_to_prior
from pyccl.sim.step_traces import Floats, Steps

PRIOR = MappingProxyType(
    {
        # name: (centre, standard deviation of its logarithm)
        "crowding": (0.02, 1.0),
        "inside": (0.05, 3.0),  # relative to the gradients' time between nodes, as `between`
        "between": (1.0, 2.0),
        "pair": (1.0, 0.5),
        "straggling": (0.03, 1.0),
        "spread": (0.1, 1.0),
        # A hop between hosts over TCP takes some 100 us, and a step's gradients go in some ten buckets. At most four
        # nodes cannot tell it from the rest, so it stays near here.
        "hop": (1e-3, 0.405),
        "forward": (0.35, 0.4),
        "sharpness": (3.0, 1.0),
    }
)
"""What is known of each parameter before anything is measured."""

TYPICAL_ERROR = 0.05
TELLING = 0.3
"""A row tells of the network if one per cent more communication makes its step this many per cent longer."""


def expected_maximum(count: Floats) -> Floats:
    """Return the mean of the largest of `count` standard normal draws, by Blom's formula (1 % off at most from 3 on).

    References
    ----------
    .. [1] G. Blom, "Statistical Estimates and Transformed Beta Variables", Wiley 1958

    Examples
    --------
    >>> expected_maximum(np.array([1.0, 4.0])).round(2)
    array([0.  , 1.05])
    """
    values, where = np.unique(np.maximum(count, 1.0), return_inverse=True)
    normal = NormalDist()
    each = [normal.inv_cdf((n - 0.375) / (n + 0.25)) for n in values.tolist()]
    return np.array(each)[where.reshape(-1)]


@dataclass(frozen=True, eq=False)
class ComputeTimes:
    """Seconds of computing against samples of a device, as one device was measured; linear between and beyond."""

    batch: Floats
    seconds: Floats

    @classmethod
    def of(cls, steps: Steps) -> ComputeTimes:
        """Read them off the rows of one device, else of the fewest, without what they waited for gradients."""
        rows = steps.where(steps.devices == steps.devices.min())
        spent = rows.step if rows.devices[0] == 1 else np.maximum(rows.step - rows.sync, 1e-3 * rows.step)
        batch = np.unique(rows.batch)
        return cls(batch, np.array([np.median(spent[rows.batch == b]) for b in batch]))

    def at(self, batch: Floats) -> Floats:
        """Return the seconds at `batch`; with one measured batch in proportion to it."""
        inner: Floats = np.interp(batch, self.batch, self.seconds)
        if len(self.batch) < 2:
            return np.asarray(inner * batch / self.batch[0])
        slope = np.diff(self.seconds[-2:]) / np.diff(self.batch[-2:])
        return np.asarray(inner + np.maximum(slope, 0) * np.maximum(batch - self.batch[-1], 0))


@dataclass(frozen=True, eq=False)
class StepModel:
    """A fitted cluster and model; `predict` gives seconds of a step.

    Attributes
    ----------
    compute : ComputeTimes
    crowding : float
        How much longer computing takes for each doubling of the devices that share a host.
    inside, between : float
        Seconds that a device's link inside a host, and a host's interface, need for all gradients once.
    pair : float
        Factor of communication between exactly two nodes, whose traffic all goes between the same two ends.
    straggling, spread : float
        Coefficient of variation of devices' compute times and links' rates: a step waits for the largest of them.
    link_spread : float
        Standard deviation of the logarithm of a host's rate, from how much equal placements differ.
    hop : float
        Seconds of one hop of the ring between hosts, for all buckets of a step.
    forward : float
        Share of computing that communication cannot overlap with.
    sharpness : float
        How fully the rest overlaps: its power plus one is the exponent of the norm that joins both.
    """

    compute: ComputeTimes
    crowding: float
    inside: float
    between: float
    pair: float
    straggling: float
    spread: float
    hop: float
    forward: float
    sharpness: float
    link_spread: float = 0.0

    def computing(self, steps: Steps) -> Floats:
        """Return the seconds until the slowest device has computed."""
        alone = self.compute.at(steps.batch) * (1 + self.crowding * np.log2(steps.widest))
        return alone * (1 + self.straggling * expected_maximum(steps.devices))

    def communicating(self, steps: Steps) -> Floats:
        """Return the seconds of the all_reduce if nothing overlapped."""
        p, hosts = steps.devices, steps.nodes
        volume = 2 * (p - 1) / p
        slow = (1 + self.spread * expected_maximum(p)) * np.exp(self.link_spread * expected_maximum(hosts))
        remote = volume * self.between * slow + 2 * (hosts - 1) * self.hop
        return np.where(hosts == 1, volume * self.inside, remote * np.where(hosts == 2, self.pair, 1.0))

    def predict(self, steps: Steps) -> Floats:
        """Return the seconds of each step."""
        busy, moving = self.computing(steps), self.communicating(steps)
        share = min(self.forward, 0.98)
        backward, power = (1 - share) * busy, 1 + self.sharpness
        longer = np.maximum(backward, moving)
        joined = (backward / longer) ** power + (moving / longer) ** power
        return share * busy + longer * joined ** (1 / power)

    def cluster(self, hosts: int, gradient_bytes: float) -> Cluster:
        """Return the fitted cluster with one device a host: its ring all_reduce takes `communicating` seconds.

        Parameters
        ----------
        hosts : int
        gradient_bytes : float
            What the model sends; step times do not tell it, only how long it takes.
        """
        largest = expected_maximum(np.array([float(hosts)]))[0]
        slow = (1 + self.spread * largest) * np.exp(self.link_spread * largest) * (self.pair if hosts == 2 else 1.0)
        hop = self.hop * (self.pair if hosts == 2 else 1.0)
        return Cluster.switch(hosts=hosts, nic=gradient_bytes / (self.between * slow), latency=hop / 2)


def fit_steps(steps: Steps) -> StepModel:
    """Fit to measured steps, of which some should be on several nodes and one on a single device.

    The spread of links is what placements differ by beyond the first fit, a second fit has it.
    """
    compute = ComputeTimes.of(steps)
    exposed = steps.where((steps.devices > 1) & (steps.batch <= np.quantile(steps.batch, 0.3)))
    exposed = exposed.where(exposed.nodes == exposed.nodes.max()) if len(exposed) else steps
    scale = max(float(np.median(exposed.sync)) / 1.5, 1e-6)
    centre = np.log([c * scale if name in ("inside", "between") else c for name, (c, _) in PRIOR.items()])
    spread = np.array([s for _, s in PRIOR.values()])
    # Rows of a placement err together: they weigh as one, so that the prior is not outvoted by their number.
    weight = TYPICAL_ERROR * np.sqrt(len(steps) / len(np.unique(steps.place)))

    def model(logs: Floats, links: float) -> StepModel:
        values = np.exp(np.clip(logs, -30, 10)).tolist()
        return StepModel(compute, **dict(zip(PRIOR, values, strict=True)), link_spread=links)

    def fitted(links: float) -> StepModel:
        logs = fit_to_prior(lambda p: np.log(model(p, links).predict(steps) / steps.step), centre, spread, weight)
        return model(logs, links)

    first = fitted(0.0)
    return fitted(_link_spread(first, steps))


def _link_spread(model: StepModel, steps: Steps) -> float:
    """Return the standard deviation of the logarithm of one link's rate, from residuals of whole placements.

    The largest of two to four normal draws has 0.83 to 0.70 of the standard deviation of one.
    """
    rows = steps.where(steps.nodes > 1)
    if not len(rows):
        return 0.0
    at = model.predict(rows)
    slower = StepModel(**{**vars(model), "between": model.between * 1.001, "hop": model.hop * 1.001})
    telling = np.log(slower.predict(rows) / at) / np.log(1.001)
    off = np.log(rows.step / at) / np.maximum(telling, TELLING)
    kept = telling > TELLING
    means = [off[kept & (rows.place == place)].mean() for place in np.unique(rows.place[kept])]
    return float(np.std(means)) / 0.72 if len(means) > 2 else 0.0


# --- what is printed beside it


def plain_fit(steps: Steps, wanted: Steps) -> Floats:
    """Return predictions for `wanted` of computing plus alpha and beta of a ring, nothing overlapped."""

    def seconds(logs: Floats, rows: Steps) -> Floats:
        base, slope, near, inside, far, outside = np.exp(np.clip(logs, -30, 10))

        def ring(alpha: float, beta: float) -> Floats:
            # predict() is linear in its two constants
            p = rows.devices
            return np.array([predict("all_reduce", "ring", int(n), 1.0, Hockney(alpha, beta)) for n in p])

        moving = np.where(rows.nodes == 1, ring(near, inside), ring(far, outside))
        return base + slope * rows.batch + moving  # type: ignore[no-any-return]

    start = np.log([*_line(steps), 1e-3, 1e-2, 1e-3, 0.1])
    logs = fit_to_prior(lambda p: np.log(seconds(p, steps) / steps.step), start, np.full(6, 10.0), 1e-3)
    return seconds(logs, wanted)


def pollux_fit(steps: Steps, wanted: Steps) -> Floats:
    """Return predictions for `wanted` of the form of Pollux: affine terms joined by a norm [1]_.

    References
    ----------
    .. [1] A. Qiao et al., "Pollux: Co-adaptive Cluster Scheduling for Goodput-Optimized Deep Learning", OSDI 2021
    """

    def seconds(logs: Floats, rows: Steps) -> Floats:
        base, slope, near, near_more, far, far_more = np.exp(np.clip(logs[:6], -30, 10))
        power = 1 + 9 / (1 + np.exp(-logs[6]))
        more = np.maximum(rows.devices - 2, 0)
        sync = np.where(rows.nodes == 1, near + near_more * more, far + far_more * more)
        sync = np.where(rows.devices == 1, 0.0, sync)
        return ((base + slope * rows.batch) ** power + sync**power) ** (1 / power)  # type: ignore[no-any-return]

    start = np.array([*np.log([*_line(steps), 0.02, 5e-3, 0.1, 5e-3]), 0.0])
    logs = fit_to_prior(lambda p: np.log(seconds(p, steps) / steps.step), start, np.full(7, 10.0), 1e-3)
    return seconds(logs, wanted)


def _line(steps: Steps) -> tuple[float, float]:
    """Return a rough intercept and slope of the smallest placements' steps."""
    rows = steps.where(steps.devices == steps.devices.min())
    slope = max(float(np.ptp(rows.step)) / max(float(np.ptp(rows.batch)), 1.0), 1e-6)
    return max(float(rows.step.min()) - slope * float(rows.batch.min()), 1e-3), slope
