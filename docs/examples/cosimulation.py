"""Loss against simulated time: the same learning problem, trained synchronously, asynchronously and with SSP.

The simulator says when each gradient is applied and how stale it is; the gradients are real. No MPI is needed.

python docs/examples/cosimulation.py
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from pyccl.sim import Cluster, Logistic, Model, Workers, simulate

cluster = Cluster.switch(hosts=17, nic="100 Gbit/s", latency="5 us")  # the last one is the server
model = Model.preset("resnet50", device="V100", dtype="float16")  # gives the times and bytes
workers = Workers(compute="lognormal(cv=0.3)", slow={3: 3.0})  # worker 3 is slow for good

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for strategy, rate in {"ps_sync": 1.0, "ps_async": 0.15, "ssp:3": 0.15}.items():
    problem = Logistic(learning_rate=rate)  # one version of sync is the mean of 16 gradients
    result = simulate(cluster, model, strategy, workers=workers, steps=150, seed=1, problem=problem)
    losses = result.losses
    axis.plot(losses.time, losses.loss, label=f"{strategy}, staleness {result.mean_staleness:.3g}")
    print(f"{strategy:9} reaches a loss of 0.4 after {losses.time_to(0.4):5.2f} s of simulated time")
axis.set(xlabel="simulated time (s)", ylabel="loss", xlim=(0, 20))
axis.legend(frameon=False)
figure.savefig("cosimulation.png", dpi=130)
assert Path("cosimulation.png").stat().st_size
