"""Names of files whose ending promises another format than the one that is written."""

from collections.abc import Mapping
from pathlib import Path

_FRAMES = {
    ".csv": "to_dataframe().to_csv",
    ".tsv": "to_dataframe().to_csv",
    ".json": "to_dataframe().to_json",
    ".jsonl": "to_dataframe().to_json",
    ".parquet": "to_dataframe().to_parquet",
    ".feather": "to_dataframe().to_feather",
    ".xlsx": "to_dataframe().to_excel",
    ".xls": "to_dataframe().to_excel",
    ".html": "to_dataframe().to_html",
    ".htm": "to_dataframe().to_html",
    ".md": "to_dataframe().to_markdown",
    ".tex": "to_dataframe().to_latex",
    ".pkl": "to_dataframe().to_pickle",
    ".pickle": "to_dataframe().to_pickle",
}
_NOTHING = dict.fromkeys(
    (*(".npy", ".npz", ".pt", ".pth", ".safetensors", ".zarr"), *(".png", ".svg", ".pdf", ".jpg", ".txt", ".zip")), ""
)

OTHERS: Mapping[str, str] = {**_FRAMES, **_NOTHING}
"""What writes a file of each ending; "" where nothing of a result does."""

NETCDF = (".nc", ".nc4", ".netcdf", ".h5", ".hdf5", ".cdf")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def check_ending(path: Path, own: tuple[str, ...], format_: str) -> None:
    """Refuses a name whose ending is that of another format.

    Args:
        path: The file that is to be written.
        own: The endings of the format that is written.
        format_: Its name.

    Raises:
        ValueError: If the ending is known, and is none of `own`; says what writes such a file.
    """
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    compressed = len(endings) > 1 and endings[-1] in _COMPRESSED
    ending = endings[-2] if compressed else (endings or [""])[-1]
    known = ending in OTHERS or ending in NETCDF
    if not known or (ending in own and not compressed):
        return
    writer = "" if ending in own else OTHERS.get(ending, "")
    instead = f" For a {ending} file use {writer}({path.name!r})." if writer else ""
    raise ValueError(
        f"save writes {format_}, and {path.name!r} has the ending of another format. Name it "
        f"{path.name.split('.')[0] + own[0]!r}.{instead}"
    )
