"""Something to check, by the name under which it is imported: `mypackage.mymodule:MyDecomposer`."""

import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from dla.decomposers.base import Decomposer
from dla.directions import Direction
from dla.edits import Ablation
from dla.inputs.given import shown
from dla.testing.check_ablation import check_ablation
from dla.testing.check_adapter import check_adapter
from dla.testing.check_decomposer import check_decomposer
from dla.testing.check_dictionary import check_dictionary
from dla.testing.check_direction import check_direction
from dla.testing.profiles import Profile
from dla.testing.report import Report


def subject_named(name: str) -> Any:
    """The object of that name; a class is called without arguments, and so is a function, such as one that adapts.

    Args:
        name: The module, a colon, and the name in it. The working directory is looked in, too.

    Raises:
        ValueError: If it is no such name, or the module cannot be imported, lacks it, or it wants arguments.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(f"{shown(name)} names nothing to check. Pass mypackage.mymodule:MyDecomposer.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{shown(name)}: {module} cannot be imported: {error}.") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{shown(name)}: {part} is not in {module}. Pass a name that is.")
        found = getattr(found, part)
    return _called(name, found) if inspect.isclass(found) or inspect.isfunction(found) else found


def _called(name: str, found: Any) -> Any:
    wanted = [each.name for each in inspect.signature(found).parameters.values() if _must_be_given(each)]
    if wanted:
        raise ValueError(f"{shown(name)} wants {', '.join(wanted)}. Name an instance, or a function that makes one.")
    return found()


def _must_be_given(parameter: inspect.Parameter) -> bool:
    optional = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return not optional and parameter.default is inspect.Parameter.empty


def report_on(subject: Any, profile: Profile = Profile.FULL) -> Report:
    """What the kit finds of a decomposer, a direction, an ablation, a dictionary, an adapter or a model.

    Args:
        subject: What is checked.
        profile: How much is tried, of a decomposer.
    """
    if isinstance(subject, Decomposer):
        return check_decomposer(subject, profile=profile)
    if isinstance(subject, Direction):
        return check_direction(subject)
    if isinstance(subject, Ablation):
        return check_ablation(subject)
    return check_dictionary(subject, None) if hasattr(subject, "W_dec") else check_adapter(subject)


def show_reports(names: list[str], profile: Profile, html: Path | None = None) -> bool:
    """Prints a report for each name, as soon as it is there; whether all is right.

    Args:
        names: As in `subject_named`.
        profile: How much is tried, of decomposers.
        html: Where to write the reports as well.

    Raises:
        ValueError: As `subject_named`.
    """
    found, console = list[Report](), Console()
    for name in names:
        found.append(report_on(subject_named(name), profile))
        console.print(found[-1])
    if html is not None:
        html.write_text("\n".join(report._repr_html_() for report in found), encoding="utf-8")
    return all(report.ok for report in found)
