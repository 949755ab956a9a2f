"""`pytest --dla-check mypackage.mymodule:MyDecomposer`: the checks of `dla.testing` without a test file.

It lies beside the package and imports none of it until a check runs: pytest loads it in every project where dla is
installed.
"""

from collections.abc import Callable
from typing import Any, final

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("dla")
    group.addoption(
        "--dla-check",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="check a decomposer, direction, adapter or model with dla.testing; may be given several times",
    )
    group.addoption("--dla-quick", action="store_true", help="try decomposers on a few models only")


def pytest_configure(config: pytest.Config) -> None:
    """Where checks are named and no files are, only the checks run."""
    if config.getoption("--dla-check") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds one test for each law and each decomposer, and one for anything else."""
    names: list[str] = config.getoption("--dla-check")
    if not names:
        return
    from dla.testing import Profile  # noqa: PLC0415 takes seconds
    from dla.testing.named import subject_named  # noqa: PLC0415
    from dla.testing.parametrize import checks_of  # noqa: PLC0415

    profile = Profile.QUICK if config.getoption("--dla-quick") else Profile.FULL
    for name in names:
        try:
            subject = subject_named(name)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
        for check in checks_of(subject, None, profile):
            items.append(_Check.from_parent(session, name=f"{name}-{check}", check=check, subject=subject))


@final
class _Check(pytest.Item):
    """One check of one subject."""

    def __init__(self, *, check: Callable[[Any], None], subject: Any, **more: Any) -> None:
        super().__init__(**more)
        self._check, self._subject = check, subject

    def runtest(self) -> None:
        self._check(self._subject)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The diagnosis alone, without the way through the kit."""
        return str(excinfo.value) if excinfo.errisinstance(AssertionError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        return "dla.testing", None, self.name
