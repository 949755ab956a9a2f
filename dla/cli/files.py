"""The files that `dla attribute` writes besides its table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import dla
from dla.cli.json_file import write_json
from dla.cli.targets import check_option
from dla.views.files import replacing
from dla.views.text import as_cell


@final
@dataclass(frozen=True)
class OutputFiles:
    """What is to be written, each None if it is not.

    Attributes:
        json: The whole result.
        csv: A line for each row.
        plot: A picture, as `.html` or `.svg`.
        report: A page to explore.
    """

    json: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    report: Path | None = None

    def check(self) -> None:
        """Whether all can be written, before anything is computed.

        Raises:
            ValueError: If one cannot, or two are the same file.
        """
        check_option("--json", self.json, ".json", "JSON")
        check_option("--csv", self.csv, ".csv", "CSV")
        check_option("--report", self.report, ".html", "an HTML page")
        if self.plot is not None and self.plot.suffix.lower() not in _PICTURES:
            raise ValueError(f"--plot {self.plot.name!r}: a picture is an .html or an .svg file. Name it so.")
        if self.plot is not None:
            check_option("--plot", self.plot, self.plot.suffix.lower(), "a picture")
        self._check_distinct()

    def _check_distinct(self) -> None:
        named: dict[Path, str] = {}
        for option, path in vars(self).items():
            if path is None:
                continue
            other = named.setdefault(path.resolve(), option)
            if other != option:
                raise ValueError(f"--{other} and --{option} both name {path.name!r}. Give each a file of its own.")

    def write(self, result: "dla.Attribution", sources: int, promoted: int) -> None:
        """Writes them.

        Args:
            result: What was found.
            sources: How many heads the page splits by the token that they read.
            promoted: How many tokens it names that each of them pushes.
        """
        if self.json is not None:
            write_json(result, self.json)
        if self.csv is not None:
            with replacing(self.csv) as unfinished:
                result.to_dataframe().map(as_cell).to_csv(unfinished, index=False)
        if self.plot is not None:
            text = _PICTURES[self.plot.suffix.lower()](result)
            with replacing(self.plot) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        if self.report is not None:
            result.report(self.report, sources=sources, promoted=promoted)


def _as_html(result: "dla.Attribution") -> str:
    text: str = result.plot().to_html(include_plotlyjs=True)  # the whole library in the file, which needs no network
    return text


_PICTURES: Mapping[str, Callable[["dla.Attribution"], str]] = {
    ".html": _as_html,
    ".svg": lambda result: result.plot.svg(),
}
