"""The files that `dla attribute` writes besides its table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import dla
from dla.cli.json_file import write_json
from dla.cli.targets import lacks_package, mistake_of
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
        save: The result as Python loads it.
    """

    json: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    report: Path | None = None
    save: Path | None = None

    def mistakes(self) -> list[str]:
        """Why they cannot be written, a sentence each, before anything is computed."""
        told = [
            mistake_of("--json", self.json, ".json", "JSON"),
            mistake_of("--csv", self.csv, ".csv", "CSV"),
            mistake_of("--report", self.report, ".html", "an HTML page"),
            mistake_of("--save", self.save, ".nc", "netCDF"),
        ]
        if self.plot is not None and self.plot.suffix.lower() not in _PICTURES:
            told.append(f"--plot {self.plot.name!r}: a picture is an .html or an .svg file. Name it so.")
        elif self.plot is not None:
            told.append(mistake_of("--plot", self.plot, self.plot.suffix.lower(), "a picture"))
            if self.plot.suffix.lower() == ".html" and lacks_package("plotly"):
                told.append("--plot draws .html files with plotly, which is not installed: pip install 'dla[plot]'.")
        named: dict[Path, str] = {}
        for option, path in vars(self).items():
            if path is not None and (other := named.setdefault(path.resolve(), option)) != option:
                told.append(f"--{other} and --{option} both name {path.name!r}. Give each a file of its own.")
        return told

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
        if self.save is not None:
            result.save(self.save)
        if self.report is not None:
            result.report(self.report, sources=sources, promoted=promoted)


def _as_html(result: "dla.Attribution") -> str:
    text: str = result.plot().to_html(include_plotlyjs=True)  # the whole library in the file, which needs no network
    return text


_PICTURES: Mapping[str, Callable[["dla.Attribution"], str]] = {
    ".html": _as_html,
    ".svg": lambda result: result.plot.svg(),
}
