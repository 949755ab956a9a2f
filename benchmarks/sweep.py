"""How fast a sweep is beside the bare forward pass over the same batches: `python -m benchmarks.sweep`.

The same prompts are run by the model alone, batch by batch as the sweep has them, and swept head by head into a folder
of Parquet files; rounds are interleaved, and the figure is the median ratio of the throughputs. It should be at least
0.95; a sweep may be faster than the forward pass, because it unembeds one position a prompt.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import dla
from benchmarks.models import GPT2_SMALL, make_bridge
from dla.demo import giving_prompts
from dla.demo.tokenizer import build_tokenizer
from dla.sweeps.batches import BatchSettings, split_batches
from dla.sweeps.corpora import open_corpus
from dla.sweeps.sweep_rows import RowTokenizer


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    model = make_bridge(GPT2_SMALL, "cpu", tokenizer=build_tokenizer())
    attributor, corpus = dla.Attributor(model, dla.HeadDecomposer()), _corpus(options.prompts)
    batches = _batches(attributor, corpus, options.batch_tokens)
    ratios = []
    for _ in range(options.rounds + 1):
        plain = _seconds(lambda: [_forward(model, batch) for batch in batches])
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            swept = _seconds(lambda o=out: dla.sweep(corpus, attributor, o, batch_tokens=options.batch_tokens))
        ratios.append(plain / swept)
    print(f"{options.prompts} prompts in {len(batches)} batches; {len(attributor.model.anatomy.blocks)} blocks")
    print(f"throughput of the sweep / bare forward pass: {statistics.median(ratios[1:]):.2f}")


def _corpus(count: int) -> pd.DataFrame:
    """Prompts of one to four sentences."""
    made = giving_prompts(count + 3)
    rows = [
        (" . ".join(p.text for p in made[i : i + 1 + i % 4]), made[i].answer, made[i].incorrect) for i in range(count)
    ]
    return pd.DataFrame(rows, columns=["prompt", "answer", "incorrect"])


def _batches(attributor: dla.Attributor, corpus: pd.DataFrame, tokens: int) -> list[Tensor]:
    """The batches that the sweep makes, as token ids."""
    rows, _ = RowTokenizer(attributor.model, None, True).read(open_corpus(corpus).rows(0, len(corpus)))
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


if __name__ == "__main__":
    main()
