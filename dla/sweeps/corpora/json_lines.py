"""JSON lines: an object a line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, final

from dla.sweeps.corpora.text import BOM, BadRecord, TextFormat, TextRecord, not_utf8

_SHOWN = 80


@final
class JsonLines(TextFormat):
    """Each line is a JSON object; what a line lacks is null."""

    def records(self, file: BinaryIO, path: Path, start: int) -> Iterator[TextRecord]:
        file.seek(start)
        end = start
        for line in file:
            end += len(line)
            text = line.removeprefix(BOM) if end == len(line) else line
            if text.strip():
                yield TextRecord(end, _contents(text.strip()))


def _contents(line: bytes) -> Mapping[str, Any] | BadRecord:
    try:
        value = json.loads(line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # an escape can stand for half a character
    except UnicodeDecodeError as error:
        return BadRecord(not_utf8(error))
    except UnicodeEncodeError:
        return BadRecord(f"The line holds half of a surrogate pair: {_shown(line)}")
    except (ValueError, RecursionError) as error:
        return BadRecord(f"The line is not JSON ({error}): {_shown(line)}")
    if not isinstance(value, dict):
        return BadRecord(f"The line is JSON and no object with columns: {_shown(line)}")
    return value


def _shown(line: bytes) -> str:
    text = line[: 4 * _SHOWN].decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
