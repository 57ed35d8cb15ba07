"""Models: totals of the presets, times from operations, embeddings in closed form, files and other sources."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyccl.bench.models import PARAMETERS
from pyccl.errors import ConfigError
from pyccl.sim.devices import DEVICES
from pyccl.sim.embedding import Embedding
from pyccl.sim.model import Layer, Model
from pyccl.sim.presets import PRESETS, Row, architecture

TOTALS = {
    "resnet50": 25_557_032, "vgg16": 138_357_544, "bert-large": 335_141_888, "gpt2": 124_439_808,
    "llama-7b": 6_738_415_616, "llama-70b": 68_976_648_192,
}  # fmt: skip
FAST = {"rate": "100 Tflop/s"}


@pytest.mark.parametrize("name", TOTALS)
def test_a_preset_has_as_many_parameters_as_the_real_model(name: str) -> None:
    model = Model.preset(name, **FAST)
    assert model.parameters == TOTALS[name]
    assert model.nbytes == TOTALS[name] * model.itemsize
    if name in PARAMETERS and name != "bert-large":  # there with the heads of pre-training
        assert PARAMETERS[name] == TOTALS[name]


@pytest.mark.parametrize(("name", "giga"), [("resnet50", 4.089), ("vgg16", 15.470)])
def test_multiplications_of_an_image_are_those_that_torchvision_states(name: str, giga: float) -> None:
    assert sum(row.flops for row in architecture(name).rows) / 2e9 == pytest.approx(giga, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "tied"), [("bert-large", 0), ("gpt2", 50257 * 768), ("llama-7b", 0), ("llama-70b", 0)]
)
def test_a_transformer_takes_two_operations_a_token_and_parameter_and_attention_besides(name: str, tied: int) -> None:
    """`tied`: parameters of the embedding that serve as the output layer."""
    found = architecture(name)
    used = sum(row.parameters for row in found.rows if row.flops) + tied
    blocks = sum("attention" in row.name for row in found.rows)
    attention = blocks * 4 * found.sequence * found.rows[0].activation  # elements of a row: tokens times width
    work = sum(row.flops for row in found.rows)
    if name == "bert-large":  # its pooler sees one token alone
        work += 2 * 1024 * 1024 * (found.sequence - 1)
    assert work - attention == pytest.approx(2 * used * found.sequence, rel=2e-3)


def test_dlrm_has_the_tables_of_mlperf() -> None:
    model = Model.preset("dlrm", **FAST)
    assert len(model.embeddings) == 26
    assert sum(table.parameters for table in model.embeddings) == pytest.approx(26.1e9, rel=0.01)
    assert [layer.name for layer in model.layers[: model.join]] == ["bottom 0", "bottom 1", "bottom 2"]
    assert 26 * 128 * 4 < model.sparse_bytes < 26 * 2048 * 128 * 4  # many rows are looked up more than once


def test_times_are_operations_over_the_rate_that_is_reached() -> None:
    rows = [Row("a", flops=1e9, parameters=10, activation=100, stored=50), Row("b", flops=3e9, parameters=5)]
    model = Model.from_flops(rows, rate="1 Tflop/s", efficiency=0.5, batch=8, micro_batches=2, dtype="float16")
    assert [layer.forward for layer in model.layers] == pytest.approx([4e9 / 0.5e12, 12e9 / 0.5e12])
    assert model.seconds == pytest.approx(3 * 8 * 4e9 / 0.5e12)
    assert model.layers[0] == dataclasses.replace(model.layers[0], nbytes=20, activation=800, stored=400)
    assert Model.preset("gpt2", device="A100").seconds == Model.preset("gpt2", rate="312 Tflop/s").seconds


def test_an_optimizer_keeps_a_float32_copy_of_16_bit_parameters() -> None:
    states = {
        (dtype, optimizer): Model.preset("resnet50", **FAST, dtype=dtype, optimizer=optimizer).state
        for dtype in ("float32", "float16")
        for optimizer in ("sgd", "momentum", "adam")
    }
    assert list(states.values()) == [0, 4, 8, 4, 8, 12]


def test_splitting_in_micro_batches_changes_no_work() -> None:
    model = Model.preset("llama-7b", **FAST, batch=8)
    split = model.split(4)
    assert (split.seconds, split.nbytes) == (pytest.approx(model.seconds), model.nbytes)
    assert split.layers[1].activation * 4 == model.layers[1].activation
    assert split.split(1) == model


# --- embeddings


@given(
    rows=st.integers(1, 30_000), zipf=st.sampled_from([0.0, 0.5, 1.0, 1.05, 2.0]), samples=st.integers(0, 50_000),
    ids=st.integers(1, 5),
)  # fmt: skip
def test_distinct_rows_are_the_sum_over_all_rows(rows: int, zipf: float, samples: int, ids: int) -> None:
    weight = np.arange(1, rows + 1) ** -zipf
    exact = np.sum(1 - (1 - weight / weight.sum()) ** (samples * ids))
    assert Embedding(rows, 8, ids, zipf).distinct(samples) == pytest.approx(exact, rel=1e-7, abs=1e-7)


def test_distinct_rows_are_what_draws_touch() -> None:
    generator, table = np.random.default_rng(1), Embedding(rows=5000, dim=16, ids=2, zipf=1.05)
    weight = np.arange(1, 5001) ** -1.05
    draws = [len(np.unique(generator.choice(5000, 2000, p=weight / weight.sum()))) for _ in range(50)]
    assert table.distinct(1000) == pytest.approx(np.mean(draws), rel=0.01)


def test_bytes_of_embeddings() -> None:
    table = Embedding(rows=10**9, dim=64, ids=3, zipf=0.0, tables=2)
    assert table.distinct(1000) == pytest.approx(3000, rel=1e-5)  # so many rows that none is drawn twice
    assert table.sparse_bytes(1000, 2) == pytest.approx(2 * 3000 * 64 * 2, rel=1e-5)
    assert table.pooled_bytes(1000) == 2 * 1000 * 64 * 4
    assert table.id_bytes(1000) == 2 * 3000 * 8


# --- other sources


@pytest.mark.parametrize("name", PRESETS)
def test_a_table_is_read_back_to_an_equal_model(name: str) -> None:
    model = Model.preset(name, **FAST, micro_batches=1)
    assert Model.from_table(model.to_table()) == model


def test_a_table_may_name_a_preset_or_operations() -> None:
    preset = {"preset": "gpt2", "device": "V100", "dtype": "float16", "batch": 4, "name": "mine"}
    assert Model.from_table(preset) == dataclasses.replace(
        Model.preset("gpt2", device="V100", dtype="float16", batch=4), name="mine"
    )
    rows = [{"name": "a", "flops": 1e9, "parameters": 100}]
    assert Model.from_table({"layers": rows, "rate": "1 Tflop/s"}).nbytes == 400


GOOD = {"name": "a", "forward": "1 ms", "backward": "2 ms", "nbytes": "4 kB"}


def test_a_preset_needs_no_device() -> None:
    assert Model.preset("resnet50") == Model.preset("resnet50", device="A100")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "needs preset = 'resnet50' or the like, or layers"),
        ({"preset": "resnet51", "device": "A100"}, "no 'resnet51'; did you mean 'resnet50'"),
        ({"preset": "resnet50", "device": "A100", "rate": "1 Tflop/s"}, "give either device, such as 'A100', or rate"),
        ({"preset": "resnet50", "device": "A1000"}, "did you mean 'A100'.*or give rate, such as '312 Tflop/s'"),
        ({"preset": "gpt2", "device": "V100"}, "V100 has no rate for bfloat16; write dtype as one of float32, float16"),
        ({"preset": "gpt2", "rate": "3 GB/s"}, "'GB/s' is no unit of a speed; known are flop/s"),
        ({"preset": "gpt2", "device": "A100", "bach": 4}, "no 'bach'; did you mean 'batch'"),
        ({"preset": "gpt2", "device": "A100", "batch": "4"}, "batch must be a whole number, got '4'"),
        ({"preset": "gpt2", "device": "A100", "batch": 4, "micro_batches": 8}, "batch must be .* at least micro_batch"),
        ({"preset": "gpt2", "device": "A100", "optimizer": "adm"}, "did you mean 'adam'"),
        ({"preset": "gpt2", "device": "A100", "dtype": "int8"}, "no 'int8'; known are"),
        ({"preset": "gpt2", "device": "A100", "efficiency": 1.5}, "efficiency must be above 0 and at most 1"),
        ({"preset": "vgg16", "device": "A100", "sequence": 8}, "vgg16 has no sequences"),
        ({"preset": "gpt2", "device": "A100", "sequence": 0}, "sequence must be a whole number of at least 1"),
        ({"layers": [{**GOOD, "forward": 1}]}, "forward = 1 has no unit; write for example '3 ms'"),
        ({"layers": [{"name": "a", "forward": "1 ms"}]}, "a layer needs backward"),
        ({"layers": [{**GOOD, "nbites": "1 B"}]}, "did you mean 'nbytes'"),
        ({"layers": [GOOD], "join": 2}, "join must be at most 1"),
        ({"layers": [GOOD], "batch": 0}, "batch must be a whole number of at least 1"),
        ({"layers": [GOOD], "embeddings": [{"rows": 0, "dim": 1}]}, "rows must be a whole number of at least 1"),
        ({"layers": [GOOD], "embeddings": [{"rows": 1, "dim": 1, "zipf": 9.0}]}, "zipf must be from 0 to 8"),
    ],
)
def test_a_bad_table_is_told_what_to_write(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Model.from_table(table)


def test_a_model_needs_layers_with_times_of_at_least_0() -> None:
    with pytest.raises(ConfigError, match="has no layers"):
        Model("none", [])
    with pytest.raises(ConfigError, match="finite times of at least 0"):
        Layer("a", -1.0, 0.0, 1)


def test_layers_of_a_layer_text(tmp_path: Path) -> None:
    text = tmp_path / "two.txt"
    text.write_text(
        "DATA all_gpus: 8\n2\n"
        "a -1 1000 NONE 0 2000 NONE 0 3000 ALLREDUCE 4096 10\n"
        "b -1 4000 NONE 0 5000 NONE 0 6000 ALLREDUCE 8192 10\n"
    )
    model = Model.from_layers(text, batch=4)
    assert (model.name, model.batch, model.nbytes) == ("two", 4, 12288)
    assert [layer.forward for layer in model.layers] == [1e-6, 4e-6]
    assert [layer.backward for layer in model.layers] == pytest.approx([5e-6, 11e-6])


@pytest.mark.torch
def test_a_torch_module_is_counted_by_running_it() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10))
    model = Model.from_torch(module, torch.zeros(2, 3, 4, 4), rate="1 Gflop/s", efficiency=1.0)
    assert (model.name, model.parameters) == ("Sequential", 8 * 27 + 8 + 1290)
    assert model.forward == pytest.approx(2 * (27 * 8 * 16 + 1280) / 1e9)
    attention = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True).eval()
    model = Model.from_torch(attention, torch.zeros(1, 10, 64), rate="1 Gflop/s", efficiency=1.0)
    assert model.parameters == sum(p.numel() for p in attention.parameters())
    assert model.forward == pytest.approx(10 * (2 * (4 * 64 * 64 + 2 * 64 * 256) + 4 * 10 * 64) / 1e9)
    lstm = Model.from_torch(nn.LSTM(8, 16), torch.zeros(1, 3, 8), rate="1 Gflop/s", efficiency=1.0)
    assert lstm.forward == pytest.approx(2 * 3 * 4 * 16 * (8 + 16) / 1e9)


@pytest.mark.torch
def test_shared_and_loose_parameters_of_a_torch_module_count_once() -> None:
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = torch.nn.Embedding(100, 16), torch.nn.Linear(16, 100, bias=False)
            self.head.weight, self.extra = self.table.weight, torch.nn.Parameter(torch.zeros(7))

        def forward(self, ids: Any) -> Any:
            return self.head(self.table(ids))

    model = Model.from_torch(Tied(), torch.zeros(2, 5, dtype=torch.long), device="A100")
    assert [(layer.name, layer.nbytes) for layer in model.layers] == [("table", 6400), ("head", 0), ("rest", 28)]


def test_without_torch_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ConfigError, match="needs PyTorch"):
        Model.from_torch(object(), object(), **FAST)


def test_devices_have_rates_for_what_they_are_used_with() -> None:
    assert all(device.peak["float32"] > 1e12 and device.memory > 1e10 for device in DEVICES.values())
