"""One edit: which part, what stands in its place, and at which positions."""

from dataclasses import dataclass
from typing import final

from dla.edits.ablations import Ablation
from dla.inputs.arguments import check_fields
from dla.inputs.positions import Position
from dla.labels import Label


@final
@dataclass(frozen=True, eq=False)
class Edit:
    """Another activation in the place of what a part writes, while the model runs for one attribution.

    Edits of one activation take place in the order in which they are given. For a group each member is edited. What is
    put at a sublayer's output passes what the model does to it on the way to the stream, such as a residual multiplier.
    A source is edited in the attention pattern, whose entry also weighs the value bias: the head's row `← b_V` loses
    its share of it, too.

    Attributes:
        part: The label of a part, such as "L0H0", "3_attn_out", "L3N12", "L9H6 ← 3", "embed", an expert, a feature or a
            group of the decomposer's; or the hook name of a place of the stream, of a sublayer's output, of `z` or of
            `post`, such as "blocks.1.hook_resid_pre".
        ablation: What stands in its place.
        pos: At which positions, as in `attribute`; None for all. Of a source, the positions that read it.

    Examples:
        >>> import dla, dla.demo
        >>> attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
        >>> prompt = "When Mary and John went to the store , John gave a drink to"
        >>> result = attributor.attribute(prompt, dla.Logit(" Mary"), edits=[dla.Edit("L0H0", dla.Zero())])
        >>> float(result.select("L0H0").values)
        0.0
    """

    part: str | Label
    ablation: Ablation
    pos: Position = None

    def __post_init__(self) -> None:
        check_fields(self, part=(str, Label), ablation=Ablation)
