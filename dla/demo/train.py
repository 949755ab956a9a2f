"""Trains the demo model: `python -m dla.demo.train`. A few minutes on two CPU cores."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dla.demo.evaluation import evaluate
from dla.demo.grammar import Prompt, prompts
from dla.demo.loading import FOLDER
from dla.demo.tokenizer import build_tokenizer

BATCH = 128
ANSWER_WEIGHT = 10.0
STEPS = 1200
SENTENCES = 20_000
EVALUATED = 1000


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A GPT-2 of three layers with four heads each, freshly initialised and without dropout."""
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=64, n_layer=3, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def encode(
    tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Prompt]
) -> tuple[Int[Tensor, "sentence pos"], Float[Tensor, "sentence pos"]]:
    """Token ids of the whole sentences, and the weight of each token in the loss (none for padding)."""
    texts = [f"{prompt.text}{prompt.answer} .{tokenizer.eos_token}" for prompt in sentences]
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    weights = encoded.attention_mask.float()
    answers = encoded.attention_mask.sum(dim=1) - 3
    weights[torch.arange(len(texts)), answers] = ANSWER_WEIGHT
    return encoded.input_ids, weights


def loss_of(
    model: GPT2LMHeadModel, tokens: Int[Tensor, "batch pos"], weights: Float[Tensor, "batch pos"]
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy, in nats, of predicting each token from those before it."""
    logits = model(tokens[:, :-1], attention_mask=(weights[:, :-1] > 0).long()).logits
    losses = cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()


def train(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, progress: Progress) -> GPT2LMHeadModel:
    """Trains a fresh model on sentences with the training pairs of names."""
    torch.manual_seed(seed)
    model = build_model(tokenizer).train()
    tokens, weights = encode(tokenizer, prompts(SENTENCES, seed, held_out=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps + 1, pct_start=0.1
    )
    task = progress.add_task("training", total=steps)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (BATCH,))
        loss = loss_of(model, tokens[rows], weights[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.update(task, advance=1, description=f"loss {loss.item():.3f}")
    return model.eval()


@contextlib.contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A folder to write to that takes the place of `out` when all went well, and vanishes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as parent:
        new = Path(parent) / "new"
        new.mkdir()
        yield new
        if out.exists():
            out.rename(Path(parent) / "old")
        new.rename(out)


def save(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, facts: dict[str, float], out: Path
) -> int:
    """Writes the model, its tokenizer and `training.json`; returns how many bytes they take."""
    with replaced_folder(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    return sum(file.stat().st_size for file in out.iterdir())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m dla.demo.train", description="Train the demo model.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, evaluates on held-out pairs of names, and saves; Ctrl-C leaves everything as it was."""
    options = parse(arguments)
    console = Console()
    start = time.perf_counter()
    tokenizer = build_tokenizer()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            model = train(tokenizer, options.seed, options.steps, progress)
        result = evaluate(model, tokenizer, prompts(EVALUATED, seed=1))
        facts = {
            "seed": options.seed,
            "steps": options.steps,
            "parameters": model.num_parameters(),
            **asdict(result),
        }
        size = save(model, tokenizer, facts, options.out)
    except KeyboardInterrupt:
        console.print("Stopped; nothing was saved.")
        return 130
    console.print(f"held-out accuracy      {result.accuracy:.2%}  ({EVALUATED} prompts)")
    console.print(f"mean logit difference  {result.logit_difference:.2f}")
    console.print(f"size                   {size / 1e6:.2f} MB, {model.num_parameters()} parameters")
    console.print(f"seconds                {time.perf_counter() - start:.0f}")
    console.print(f"saved in               {options.out}")
    return 0


if __name__ == "__main__":
    # Two threads that wait for each other take longer than one on matrices as small as these.
    torch.set_num_threads(1)
    sys.exit(main())
