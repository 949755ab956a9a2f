"""How fast a sweep is beside the bare forward pass over the same batches: `make bench ARGS="--sweep"`.

The same prompts are run by the model alone, batch by batch as the sweep has them, and swept head by head into a folder
of Parquet files; rounds are interleaved, and the figure is the median ratio of the throughputs. It should be at least
0.95; a sweep may be faster than the forward pass, because it unembeds one position a prompt.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import dla
from benchmarks.models import GPT2_SMALL, make_bridge
from dla.demo import giving_prompts, load_smollm2
from dla.demo.tokenizer import build_tokenizer
from dla.sweeps.batches import BatchSettings, split_batches
from dla.sweeps.corpora import open_corpus
from dla.sweeps.question import SweepQuestion
from dla.sweeps.row_tokenizer import RowTokenizer

_PROMPTS, _BATCH_TOKENS = 256, 2048


def show_sweep(rounds: int) -> None:
    """Measures and prints, for random weights in the shape of GPT-2 small and for a real language model.

    Args:
        rounds: Of which the median is shown.
    """
    corpus = _corpus(_PROMPTS)
    for name, load in (
        (GPT2_SMALL.name, lambda: make_bridge(GPT2_SMALL, "cpu", tokenizer=build_tokenizer())),
        ("SmolLM2-135M", load_smollm2),
    ):
        model = load()
        attributor = dla.Attributor(model, dla.HeadDecomposer())
        batches = _batches(attributor, corpus, _BATCH_TOKENS)
        ratios = [_ratio(model, attributor, corpus, batches) for _ in range(rounds + 1)]
        print(f"{name}: {_PROMPTS} prompts in {len(batches)} batches; {len(attributor.model.anatomy.blocks)} blocks")
        print(f"throughput of the sweep / bare forward pass: {statistics.median(ratios[1:]):.2f}")


def _ratio(model: Any, attributor: dla.Attributor, corpus: pd.DataFrame, batches: list[Tensor]) -> float:
    plain = _seconds(lambda: [_forward(model, batch) for batch in batches])
    with tempfile.TemporaryDirectory() as folder:
        swept = _seconds(lambda: dla.sweep(corpus, attributor, Path(folder) / "out", batch_tokens=_BATCH_TOKENS))
    return plain / swept


def _corpus(count: int) -> pd.DataFrame:
    """Prompts of one to four sentences."""
    made = giving_prompts(count + 3)
    rows = [
        (" . ".join(p.text for p in made[i : i + 1 + i % 4]), made[i].answer, made[i].incorrect) for i in range(count)
    ]
    return pd.DataFrame(rows, columns=["prompt", "answer", "incorrect"])


def _batches(attributor: dla.Attributor, corpus: pd.DataFrame, tokens: int) -> list[Tensor]:
    """The batches that the sweep makes, as token ids."""
    question = SweepQuestion.of(None, True, attributor.decomposer)
    rows, _ = RowTokenizer(attributor.model, None, question).read(open_corpus(corpus).rows(0, len(corpus)))
    settings = BatchSettings.of(None, tokens, len(corpus), None, "raise")
    each = []
    for batch in split_batches(rows, settings, len(attributor.model.anatomy.blocks)):
        width = max(len(row.ids) for row in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for filled, row in zip(ids, batch, strict=True):
            filled[: len(row.ids)] = torch.from_numpy(row.ids)
        each.append(ids)
    return each


def _forward(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens)
        return logits


def _seconds(run: Any) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
