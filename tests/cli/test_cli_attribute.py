import json

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

import dla
import dla.demo
from dla.calls.direct import UNITS

PROMPT = "When Mary and John went to the store , John gave a drink to"
SUMS = ("total", "constant", "logit", "output_logit", "gap", "tolerance")


def expected(unit, direction, pos=-1):
    return dla.Attributor(dla.demo.load_small("raw"), UNITS[unit]()).attribute(PROMPT, direction, pos=pos)


@pytest.mark.parametrize("unit", UNITS)
def test_the_json_holds_the_whole_result(attribute, unit, tmp_path):
    file = tmp_path / "result.json"
    run = attribute(incorrect=" John", decompose=unit, json=file)
    assert run.exit_code == 0, run.output
    data, result = json.loads(file.read_text()), expected(unit, dla.LogitDifference(" Mary", " John"))
    assert data["labels"] == result.labels
    assert data["values"] == result.values[:, 0].tolist()
    assert {name: data[name] for name in SUMS} == {name: float(getattr(result, name)) for name in SUMS}
    assert data["direction"] == "logit difference ' Mary' - ' John'"
    assert (data["decomposer"], data["row_kind"]) == (type(UNITS[unit]()).__name__, UNITS[unit]().row_kind.value)
    assert (data["model"], data["dtype"]) == (result.provenance.model, "float32")
    assert data["tokens"] == ["<s>", *PROMPT.split()]
    assert (data["position"], data["token"]) == (14, "to")
    assert data["kinds"] == [part.kind for part in result.parts]
    assert data["layers"] == [part.layer for part in result.parts]
    assert data["heads"] == [part.head for part in result.parts]
    assert data["versions"] == result.provenance.versions
    assert data["format"] == "dla.attribution.json/2"


def test_rows_and_constant_in_the_json_add_up(attribute, tmp_path):
    attribute(decompose="head", json=tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text())
    assert sum(data["values"]) + data["constant"] == pytest.approx(data["logit"], abs=data["tolerance"])


def test_the_table_is_printed(attribute):
    run = attribute(incorrect=" John", decompose="head")
    assert run.exit_code == 0, run.output
    assert f"{dla.demo.FOLDER}, at token 14 of the prompt ('to')" in run.stdout.replace("\n", "")
    for label in expected("head", dla.Logit(" Mary")).labels:
        assert f"│ {label} " in run.stdout
    assert run.stderr == ""


def test_components_are_the_default(attribute):
    assert "ComponentDecomposer" in attribute().stdout


def test_the_rows_of_layer_keep_their_order(attribute):
    out = attribute(decompose="layer").stdout
    labels = expected("layer", dla.Logit(" Mary")).labels
    assert labels == sorted(labels, key=lambda label: out.index(f"│ {label} "))


@pytest.mark.parametrize("pos", [3, -4])
def test_another_position(attribute, pos, tmp_path):
    attribute(pos=pos, json=tmp_path / "result.json")
    data, result = json.loads((tmp_path / "result.json").read_text()), expected("component", dla.Logit(" Mary"), pos)
    assert data["values"] == result.values[:, 0].tolist()
    assert (data["position"], data["token"]) == (pos % 15, ["<s>", *PROMPT.split()][pos])


def test_top_shows_so_many_rows_at_each_end(attribute):
    result = expected("head", dla.Logit(" Mary"))
    ends = {label for label, _ in (*result.top(2), *result.bottom(2))}
    out = attribute(decompose="head", top=2).stdout
    assert {label for label in result.labels if f"│ {label} " in out} == ends


def test_top_may_ask_for_more_rows_than_there_are(attribute):
    out = attribute(decompose="head", top=50).stdout
    assert all(f"│ {label} " in out for label in expected("head", dla.Logit(" Mary")).labels)


def test_a_token_by_its_id(attribute):
    token = dla.demo.load_small("raw").to_single_token(" Mary")
    by_id, by_text = attribute(answer=f"id:{token}").stdout, attribute(answer=" Mary").stdout
    assert f"logit of {token}," in by_id
    assert by_id.split("\n")[3:] == by_text.split("\n")[3:]


@pytest.mark.parametrize(("flag", "bos"), [("--prepend-bos", True), ("--no-prepend-bos", False)])
def test_with_and_without_bos(dla_command, tmp_path, flag, bos):
    file = tmp_path / "result.json"
    given = ("--model", dla.demo.FOLDER, "--prompt", PROMPT, "--answer", " Mary", "--json", file)
    run = dla_command("attribute", *given, flag)
    assert run.exit_code == 0, run.output
    data = json.loads(file.read_text())
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.ComponentDecomposer())
    assert data["values"] == attributor.attribute(PROMPT, " Mary", prepend_bos=bos).values[:, 0].tolist()
    assert data["tokens"] == (["<s>"] if bos else []) + PROMPT.split()


def test_what_may_not_be_meant_is_said_in_a_line(attribute):
    run = attribute(prompt="When Mary and Zebedee")
    assert run.exit_code == 0, run.output
    assert (
        run.stderr == "dla: note: The model does not know 'Zebedee' (prompt 0, position 4): it reads '<unk>' there.\n"
    )


def test_a_name_that_is_no_folder_is_asked_of_the_hub(attribute, monkeypatch):
    asked, model = [], dla.demo.load_small("raw")

    def boot(name, **options):
        asked.append((name, options))
        return model

    monkeypatch.setattr(TransformerBridge, "boot_transformers", boot)
    run = attribute(model="gpt2")
    assert run.exit_code == 0, run.output
    assert asked == [("gpt2", {"device": "cpu", "dtype": torch.float32})]
    assert run.stdout.startswith("gpt2, at token 14")


def test_what_other_libraries_say_while_loading_is_not_shown(attribute, monkeypatch):
    model = dla.demo.load_small("raw")

    def boot(name, **options):
        import logging
        import warnings

        print("Loaded pretrained model")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        logging.getLogger("transformers").warning("some weights")
        return model

    monkeypatch.setattr(TransformerBridge, "boot_transformers", boot)
    run = attribute(model="gpt2")
    assert run.exit_code == 0, run.output
    assert "Loaded" not in run.stdout
    assert run.stderr == ""


def test_the_installed_command_on_a_folder(shell, tmp_path):
    file = tmp_path / "result.json"
    run = shell(
        *("attribute", "--model", dla.demo.FOLDER, "--prompt", PROMPT, "--answer", " Mary"),
        *("--incorrect", " John", "--decompose", "head", "--top", "3", "--json", file),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "the model's own logit" in run.stdout
    assert len(json.loads(file.read_text())["values"]) == 20
