"""Files that an option names: whether they can be written, said before anything is computed."""

from pathlib import Path

from dla.views.endings import check_target


def check_option(option: str, path: Path | None, ending: str, format_: str) -> None:
    """Whether an option names a file of its format, in a folder that is there.

    Args:
        option: The option, such as `--json`.
        path: What it names; None where it was not given.
        ending: How such files end.
        format_: The format's name.

    Raises:
        ValueError: If it does not.
    """
    if path is None:
        return
    try:
        check_target(path, (ending,), format_, tabular=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {error}") from None
