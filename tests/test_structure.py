"""The shape of the library: public names, direction of imports, what importing costs, who may know hook names."""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest
from rooms import PAGE, ROOMS, home_of, with_map

import dla

FOLDER = Path(dla.__file__).parent
FILES = sorted(path for path in FOLDER.rglob("*.py"))

PUBLIC = """
    Ablation Add AttentionScore Attribution Attributor BiasDecomposer BlockDecomposer BootstrapInterval Caveats
    CentredLogit Change CoarseDecompositionWarning ComponentDecomposer Constant Continuation DLAError DLAWarning
    Decomposer Difference DirectEffects Direction Directions Edit Effects EmbeddingDecomposer Engine Entry
    ExpertDecomposer ExpertWrites FeatureDecomposer Features FileFormatError Fixed FrozenGate FrozenUp FullOutput Graph
    GroupDecomposer HeadDecomposer HeadWrites HookedTransformerAdapter Interval Label LayerDecomposer LensDecomposer
    LocalEngine LogProbability Logit LogitDifference LogitSet Mean MissingPackageError Mixed MixedDecomposer
    ModelAdapter ModelMismatchWarning NeuronDecomposer NeuronWrites NextToken Norm NormalInterval Part PromptWarning
    RayEngine ReconstructionError ReconstructionWarning Repair Resample ResidualVector Rounding Route RowKind Rows
    RunChangedError Secant Shares Site SourceDecomposer Sources SumOf Summary SweepFolder SweepWarning TokenEffects
    TopTokens TotalEffects TransformerBridgeAdapter UnsupportedModelError Write Written Zero __version__ adapt compare
    direct_logit_attribution graph load load_graph mean open_sweep sweep total_effects
""".split()


def module_of(path: Path) -> str:
    parts = ["dla", *path.relative_to(FOLDER).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, text: str | None = None) -> Iterator[str]:
    """The modules of this library that a file imports, wherever in it, in full."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text() if text is None else text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "dla")
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            if module.split(".")[0] == "dla":
                names = [f"{module}.{alias.name}" for alias in node.names]
                yield from (name if _is_module(name) else module for name in names)


def _is_module(name: str) -> bool:
    at = FOLDER.parent / Path(*name.split("."))
    return at.with_suffix(".py").is_file() or (at / "__init__.py").is_file()


def subject_of(module: str) -> str:
    room = ".".join(module.split(".")[1:2])
    return "cli" if room == "__main__" else room  # `python -m dla`


def misdirected(path: Path, text: str | None = None) -> list[str]:
    """The imports of a file that go down the list, or sideways."""
    own, top = subject_of(module_of(path)), ROOMS.index(subject_of(module_of(path)))
    return [m for m in imports_of(path, text) if subject_of(m) != own and ROOMS.index(subject_of(m)) >= top]


def test_public_names_are_pinned() -> None:
    assert sorted(dla.__all__) == sorted(PUBLIC)
    assert all(hasattr(dla, name) for name in PUBLIC)


EXTENSION = {
    "dla.inputs": "Positions Prompts Vocabulary",
    "dla.directions": """
        CentredLogit Combination Continuation Direction DirectionSet Directions LogProbability Logit LogitDifference
        LogitSet NextToken ResidualVector ResolvedDirection Tokens TopTokens mean one_place question read_tokens
    """,
    "dla.writes": """
        Activations Addition as_it_is BoundedValue Change Computation Constant DIRECT ExpertSum ExpertWrites Features
        FullOutput HeadWrites HookValue is_half lost_in NeuronWrites Norm NormOutput OwnScale PatternProduct
        PerHeadProducts Precision precisions_of Product Rounding Route Site Sources SumOf Write
    """,
    "dla.adapters": """
        Anatomy Block Heads HookedTransformerAdapter Mixture ModelAdapter Neurons Observer PieceKind Sublayer
        TransformerBridgeAdapter Unembedding Values adapt hook_points_of in_compatibility_mode norm_of run_module
    """,
    "dla.decomposers": """
        BiasDecomposer BlockDecomposer ComponentDecomposer Decomposer EmbeddingDecomposer Entry ExpertDecomposer
        FeatureDecomposer GroupDecomposer HeadDecomposer Item RowKind LayerDecomposer LensDecomposer MixedDecomposer
        NeuronDecomposer Rows SourceDecomposer split_sublayers
    """,
}
"""What users import to extend the library, by the room that gives it."""


@pytest.mark.parametrize("room", EXTENSION)
def test_names_for_extensions_are_pinned(room: str) -> None:
    module = importlib.import_module(room)
    assert sorted(module.__all__) == sorted(EXTENSION[room].split())
    assert all(hasattr(module, name) for name in module.__all__)


def test_public_names_are_documented() -> None:
    assert [name for name in PUBLIC if not (getattr(dla, name).__doc__ or "").strip()] == []


def test_every_file_has_its_room() -> None:
    assert {subject_of(module_of(path)) for path in FILES} == set(ROOMS)


def test_there_are_few_rooms_on_few_floors() -> None:
    below = {
        room: {subject_of(m) for path in FILES if subject_of(module_of(path)) == room for m in imports_of(path)}
        for room in ROOMS
    }
    floors: dict[str, int] = {}
    for room in ROOMS:
        floors[room] = 1 + max((floors[other] for other in below[room] - {room}), default=0)
    assert len(ROOMS) <= 22
    assert max(floors.values()) <= 12


def test_no_two_files_import_each_other() -> None:
    above = {module_of(path): set(imports_of(path)) for path in FILES}
    TopologicalSorter(above).prepare()  # raises CycleError


def test_the_map_shows_the_rooms() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_map(page), "make it again: make map"
    assert all(len(home_of(room).read_text(encoding="utf-8")) > 3 for room in ROOMS)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_up_the_list(path: Path) -> None:
    assert misdirected(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "from dla.attributor import Attributor",
        "import dla.views.grid",
        "from dla import decomposers",
        "from dla import Attributor",
        "from .attributor import Attributor",
        "from . import gaps",
        "def late():\n    from dla.decomposers import HeadDecomposer",
    ],
)
def test_an_import_down_the_list_is_seen(text: str) -> None:
    assert misdirected(FOLDER / "writes.py", text) != []


def test_an_import_up_the_list_is_fine() -> None:
    assert (
        misdirected(FOLDER / "writes.py", "from dla.writes.routes import Route\nfrom .labels import Label\nimport ast")
        == []
    )


def tops(path: Path) -> set[str]:
    """The packages that a file imports when it is imported itself, not inside a function."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_adapters_know_transformer_lens(path: Path) -> None:
    allowed = subject_of(module_of(path)) in ("adapters", "demo", "testing", "cli")
    assert allowed or "transformer_lens" not in tops(path)


HOOK_NAME = re.compile(r"\bhook_(?!name|head_index|z_resh)[a-z]|\bblocks\.|\bln_final\b")


def hook_names(text: str) -> list[str]:
    """String constants, docstrings aside, that look like names of hooks."""
    tree = ast.parse(text)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [n.value for n in strings if id(n) not in documents and HOOK_NAME.search(n.value)]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_adapters_know_hook_names(path: Path) -> None:
    if subject_of(module_of(path)) not in ("adapters", "testing", "demo"):
        assert hook_names(path.read_text()) == []


def test_a_hook_name_is_seen() -> None:
    for text in ("hook_embed", "blocks.0.attn.hook_z", "ln_final.hook_scale"):
        assert hook_names(f"x = {text!r}") == [text]
    assert hook_names('"""Reads hook_z."""') == []


def imported_by(statement: str, after: str = "import torch") -> set[str]:
    """The modules that a statement imports in a new process that has imported others."""
    lines = ["import json, sys", after, "known = set(sys.modules)", statement]
    lines.append("print(json.dumps([*set(sys.modules) - known]))")
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


UNWANTED = {
    *("transformer_lens", "transformers", "accelerate", "datasets", "sae_lens", "ray", "pyarrow", "IPython"),
    *("pandas", "xarray", "h5netcdf", "plotly", "matplotlib", "typer", "hypothesis", "pytest"),
}
"""What takes long to import, or need not be there."""


def test_importing_the_library_imports_nothing_else() -> None:
    assert packages(imported_by("import dla")) <= {"dla", "lazy_loader", "importlib", "ast", "threading"}


@pytest.mark.parametrize("name", ["Attributor", "HeadDecomposer", "LogitDifference", "adapt"])
def test_an_attribution_needs_no_library_that_takes_long_to_import(name: str) -> None:
    modules = imported_by(f"import dla; dla.{name}")
    assert packages(modules) & UNWANTED == set()
    assert not any(module.startswith(("dla.testing", "dla.demo", "dla.cli")) for module in modules)


def test_help_needs_no_pytorch() -> None:
    code = "import sys, dla.cli; print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_kit_imports_neither_pytest_nor_hypothesis() -> None:
    modules = imported_by("import dla.testing", "import torch, transformer_lens, transformer_lens.model_bridge")
    assert "dla.testing.laws" in modules
    assert packages(modules) & {"pytest", "hypothesis"} == set()


def test_files_have_one_subject() -> None:
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert max(lengths.values()) <= 400, max(lengths, key=lambda name: lengths[name])
    assert sorted(lengths.values())[len(lengths) // 2] <= 150


def test_functions_are_short() -> None:
    lengths = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths.append(body[-1].end_lineno - body[0].lineno + 1 if body else 0)
    assert sorted(lengths)[int(0.9 * len(lengths))] <= 30


def test_concrete_classes_are_final_and_abstract_ones_are_not() -> None:
    kinds = [kind for name in dla.__all__ if isinstance(kind := getattr(dla, name), type)]
    for kind in kinds:
        abstract = bool(getattr(kind, "__abstractmethods__", ()))
        if not issubclass(kind, Exception) and kind is not dla.RowKind:
            assert getattr(kind, "__final__", False) != abstract, kind


def public_names(text: str) -> set[str]:
    """The classes, functions and constants of a file that begin with no underscore; what it imports is none of them."""
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def defined_twice(texts: dict[str, str]) -> dict[str, list[str]]:
    """The names that more than one of these modules define, each with those modules."""
    homes: dict[str, list[str]] = {}
    for module, text in texts.items():
        for name in public_names(text):
            homes.setdefault(name, []).append(module)
    return {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_a_public_name_means_one_thing() -> None:
    assert defined_twice({module_of(path): path.read_text() for path in FILES}) == {}


def test_a_name_defined_twice_is_seen() -> None:
    one = "from dla import Label\nclass Check: ...\ndef _own(): ...\nfirst, SIZE = 1, 2"
    other = "from dla import Label\ndef Check(): ...\ndef _own(): ...\nSIZE: int = 3"
    assert defined_twice({"one": one, "other": other}) == {name: ["one", "other"] for name in ("Check", "SIZE")}
