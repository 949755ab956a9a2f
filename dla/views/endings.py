"""Names of files to write: whether their folder exists, and whether their ending is that of another format."""

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
    ".html": "report",
    ".htm": "report",
    ".md": "to_dataframe().to_markdown",
    ".tex": "to_dataframe().to_latex",
    ".pkl": "to_dataframe().to_pickle",
    ".pickle": "to_dataframe().to_pickle",
}
_NOTHING = dict.fromkeys(
    (*(".npy", ".npz", ".pt", ".pth", ".safetensors", ".zarr"), *(".png", ".svg", ".pdf", ".jpg", ".txt", ".zip")), ""
)

OTHERS: Mapping[str, str] = {**_FRAMES, **_NOTHING}
"""The method of a result that writes a file with this ending; "" where there is none."""

NETCDF = (".nc", ".nc4", ".netcdf", ".h5", ".hdf5", ".cdf")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def check_target(path: str | Path, own: tuple[str, ...], format_: str, tabular: bool = True) -> None:
    """Refuses the name of a folder, one in a folder that does not exist, and one with the ending of another format.

    Args:
        path: The file that is to be written.
        own: The endings of the format that is written.
        format_: The format's name.
        tabular: Whether what is written has a `to_dataframe`, which writes files of other endings.

    Raises:
        FileNotFoundError: If its folder does not exist.
        IsADirectoryError: If it is a folder.
        ValueError: If there is no name, or its ending is that of another format.
    """
    if not str(path):
        raise ValueError("'' is no name of a file. Pass one.")
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Pass the name of a file.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{str(path)!r}: there is no folder {str(path.parent)!r}. Make it, or pass another.")
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    # `.csv.gz` too: nothing that is written here is compressed by its name.
    compressed = len(endings) > 1 and endings[-1] in _COMPRESSED
    ending = endings[-2] if compressed else (endings or [""])[-1]
    known = ending in OTHERS or ending in NETCDF
    if not known or (ending in own and not compressed):
        return
    writer = OTHERS.get(ending, "") if tabular and ending not in own else ""
    instead = f" For a {ending} file use {writer}({path.name!r})." if writer else ""
    raise ValueError(
        f"{path.name!r} has the ending of another format, and what is written is {format_}. Name it "
        f"{path.name.split('.')[0] + own[0]!r}.{instead}"
    )
