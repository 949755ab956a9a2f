"""Models that TransformerLens bridges, but without one causal residual stream from embedding to logits."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import MULTI_HEAD, TOKENS, without

_T5 = {**without(TOKENS, "bos_token_id"), "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_SIDES = {
    f"{side}_{field}": size
    for side in ("encoder", "decoder")
    for field, size in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
}
_BART = {**TOKENS, **_SIDES, "d_model": 32, "max_position_embeddings": 64, "decoder_start_token_id": 1}

REFUSED: tuple[HuggingFaceArchitecture, ...] = (
    tiny("bert", "BertConfig", MULTI_HEAD, auto_class="AutoModelForMaskedLM", kind="encoder"),
    tiny("roberta", "RobertaConfig", MULTI_HEAD, auto_class="AutoModelForMaskedLM", lines=(4,), kind="encoder"),
    tiny("t5", "T5Config", _T5, auto_class="AutoModelForSeq2SeqLM", kind="encoder-decoder"),
    tiny("bart", "BartConfig", _BART, auto_class="AutoModelForSeq2SeqLM", kind="encoder-decoder"),
)
"""All entries."""
