"""How the demo model is trained: next-word prediction, with most of the weight on the answer."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from dla.demo.grammar import Prompt, giving_prompts

BATCH_SIZE = 128
SENTENCES = 20_000
ANSWER_WEIGHT = 10.0
LEARNING_RATE = 3e-3
# Without these two, logit differences grow for as long as one trains, and an MLP makes most of them;
# with them, name-mover heads do, as in GPT-2 small.
LABEL_SMOOTHING = 0.05
MLP_WEIGHT_DECAY = 1.0


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A GPT-2 of three layers with four heads each, freshly initialised and without dropout."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=64,
        n_layer=3,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
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
    losses = cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none", label_smoothing=LABEL_SMOOTHING)
    return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()


def build_optimizer(model: GPT2LMHeadModel) -> torch.optim.AdamW:
    """AdamW that shrinks the MLPs much more than the rest."""
    mlp = [parameter for name, parameter in model.named_parameters() if ".mlp." in name]
    rest = [parameter for name, parameter in model.named_parameters() if ".mlp." not in name]
    groups = [{"params": mlp, "weight_decay": MLP_WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.01}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))


def train(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, report: Callable[[float], None]
) -> GPT2LMHeadModel:
    """Trains a fresh model on sentences with the training pairs of names.

    Args:
        tokenizer: The tokenizer of `build_tokenizer`.
        seed: Decides on the first weights, the sentences and their order.
        steps: How many batches.
        report: Called with the loss, in nats, after each step.
    """
    torch.manual_seed(seed)
    model = build_model(tokenizer)
    model.train()
    tokens, weights = encode(tokenizer, giving_prompts(SENTENCES, seed, held_out=False))
    optimizer = build_optimizer(model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps + 1, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (BATCH_SIZE,))
        loss = loss_of(model, tokens[rows], weights[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(loss.item())
    model.train(False)
    return model
