"""Files and options of a command line, checked before anything is computed."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from dla.views.endings import check_target
from dla.views.files import check_writable

_MANIFEST = "manifest.json"  # named here too: to import it from the sweeps takes seconds


def mistake_of(option: str, path: Path | None, ending: str, format_: str) -> str:
    """Why an option names no file of its format that can be written, as a sentence; empty if it does.

    Args:
        option: The option, such as `--json`.
        path: What it names; None where it was not given.
        ending: How such files end.
        format_: The format's name.
    """
    if path is None or (option == "--json" and str(path) == "-"):
        return ""
    try:
        check_target(path, (ending,), format_, tabular=False)
        check_writable(path)
    except OSError as error:
        reason = error.strerror or str(error)
        return f"{option} {error}" if error.errno is None else f"{option} {str(path)!r} cannot be written: {reason}."
    except ValueError as error:
        return f"{option} {error}"
    return ""


def not_a_sweep(folder: Path) -> str:
    """Why a folder that was named is none that a sweep wrote; empty if it is one."""
    if not folder.exists():
        return f"There is no folder {str(folder)!r}. Pass one that dla sweep wrote."
    if not (folder / _MANIFEST).is_file():
        return f"{str(folder)!r} is not a sweep's folder: it has no {_MANIFEST}. Pass one that dla sweep wrote."
    return ""


def refuse(mistakes: Mapping[str, bool]) -> None:
    """Tells all mistakes at once: who mended one should not wait to hear of the next.

    Args:
        mistakes: Sentences, and whether each is true.

    Raises:
        ValueError: If one is.
    """
    if told := " ".join(sentence for sentence, there in mistakes.items() if there):
        raise ValueError(told)


def lacks_package(package: str) -> bool:
    """Whether a package is not installed, without importing it."""
    return find_spec(package) is None
