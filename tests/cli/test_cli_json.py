"""The file of `dla attribute --json` is whole, or as it was."""

import json
from pathlib import Path


def test_a_file_that_cannot_be_written_to_its_end_leaves_the_old_one(attribute, tmp_path, monkeypatch):
    path, write = tmp_path / "result.json", Path.write_text
    assert attribute(json=path).exit_code == 0
    before = path.read_text()
    assert json.loads(before)["labels"][0] == "embed"

    def half(self, text, **options):
        write(self, text[: len(text) // 2], **options)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", half)
    run = attribute(json=path, answer=" John")
    assert run.exit_code == 1
    assert "No space left on device" in run.stderr
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
