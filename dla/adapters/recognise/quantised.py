"""Whether a model rounds its activations: then nothing that it computes is linear in the stream."""

from dla.adapters.recognise.model_modules import ModelModules
from dla.errors import UnsupportedModelError


def check_activations(model: ModelModules) -> None:
    """Refuses a model of which a module quantises what it reads or gives.

    Quantised weights are not refused: how exactly a module computes what its weight says is measured.

    Args:
        model: The model's modules.

    Raises:
        UnsupportedModelError: If one does; names it.
    """
    for path, module in model.by_path().items():
        original = getattr(module, "original_component", None)
        for inner in () if original is None else original.modules():
            rounds_to = vars(inner).get("activation_qtype")  # as optimum-quanto calls it
            if rounds_to is not None:
                kind = f"{type(inner).__module__.partition('.')[0]}'s {type(inner).__name__}"
                raise UnsupportedModelError(
                    f"{path} rounds activations to {getattr(rounds_to, 'name', rounds_to)} ({kind}), so no sum of "
                    "rows is the logit. Quantise the weights alone, as with quantize(model, weights=qint8), without "
                    "activations; or attribute the model that was not quantised."
                )
