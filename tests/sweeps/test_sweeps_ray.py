"""The same sweep on a Ray cluster of one node and two actors, one of which is killed half-way."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from sweep_subjects import (
    Interrupted,
    assert_every_row_once,
    assert_same,
    attributor,
    by_heads,
    frame,
    rows,
    stop,
    unfinished,
    write_lines,
)

import dla
import dla.demo

# Ray sets options of its own that it calls deprecated
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::dla.SweepWarning"),
]

SETTINGS = {"window": 24, "batch_tokens": 128}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--head", "--block", "--num-cpus=2", f"--port={port}", "--include-dashboard=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--disable-usage-stats"]
    log = tmp_path_factory.mktemp("ray") / "log"
    patch = pytest.MonkeyPatch()
    for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}.items():
        patch.setenv(name, value)
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as head,
    ):
        for _ in range(600):
            if "To terminate the Ray runtime" in log.read_text() or head.poll() is not None:
                break
            time.sleep(0.1)
        assert head.poll() is None, log.read_text()
        yield f"127.0.0.1:{port}"
        os.killpg(head.pid, signal.SIGKILL)  # asked to end, it takes half a minute
    patch.undo()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    lines = rows(500)
    for i in range(0, 500, 30):
        lines[i]["answer"] = " two tokens"
    return write_lines(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", lines)


@pytest.fixture(scope="module")
def local(heads, corpus, tmp_path_factory):
    return dla.sweep(corpus, heads, tmp_path_factory.mktemp("local"), **SETTINGS)


def dying(told):
    """Loads the model in an actor, and notes the actor's number; the first one dies in the middle of a file."""

    def load():
        import os
        import signal

        import pyarrow.parquet

        write, written = pyarrow.parquet.write_table, []

        def half(table, where, **options):
            write(table, where, **options)
            written.append(where)
            if len(written) == 4:
                with open(where, "r+b") as file:
                    file.truncate(50)
                os.kill(os.getpid(), signal.SIGKILL)

        if not list(told.iterdir()):
            pyarrow.parquet.write_table = half
        (told / str(os.getpid())).touch()
        return dla.demo.load_small("raw")

    return load


def test_the_rows_are_those_of_the_local_run_though_an_actor_is_killed(heads, cluster, corpus, local, tmp_path):
    told, out = tmp_path / "told", tmp_path / "out"
    told.mkdir()
    folder = dla.sweep(corpus, heads, out, engine=dla.RayEngine(2, address=cluster, load=dying(told)), **SETTINGS)
    actors = {int(file.name) for file in told.iterdir()}
    assert os.getpid() not in actors
    assert len(actors) >= 3, "two actors, and the one that took the place of the one that died"
    assert_same(folder, local)
    assert_every_row_once(folder, 500)
    assert unfinished(out) == []


def test_a_cluster_resumes_what_a_local_run_began(heads, cluster, local, corpus, tmp_path):
    with pytest.raises(OSError, match="stopped"):
        dla.sweep(corpus, heads, tmp_path, engine=Interrupted(stop, after=15), **SETTINGS)
    assert not dla.open_sweep(tmp_path).complete
    assert_same(dla.sweep(corpus, heads, tmp_path, engine=dla.RayEngine(1, address=cluster), **SETTINGS), local)


def test_another_model_in_the_actors_is_refused(heads, cluster, tmp_path):
    engine = dla.RayEngine(1, address=cluster, load=partial(dla.demo.load_small, "bridge"))
    with pytest.raises(
        ValueError, match="In an actor: The model in an actor .here. is not .*: the model's weights differ"
    ):
        dla.sweep(frame(4), heads, tmp_path, engine=engine)
    assert not dla.open_sweep(tmp_path).complete


def loads(hooked):
    """Loads the model in an actor, with a hook or without."""

    def load():
        model = dla.demo.load_small("bridge")
        if hooked:
            model.add_hook("blocks.1.attn.hook_z", lambda z, hook: 0.5 * z)
        return model

    return load


def test_actors_run_under_the_same_hooks_or_not_at_all(cluster, tmp_path):
    corpus = frame(8, incorrect={3: None})
    hooked = by_heads(loads(True)())
    whole = dla.sweep(corpus, hooked, tmp_path / "whole", window=4)
    plain = dla.RayEngine(1, address=cluster, load=loads(False))
    with pytest.raises(ValueError, match="In an actor: .* the model computes other numbers .*with the same hooks"):
        dla.sweep(corpus, hooked, tmp_path / "mixed", engine=plain, window=4)
    engine = dla.RayEngine(1, address=cluster, load=loads(True))
    assert_same(dla.sweep(corpus, hooked, tmp_path / "ray", engine=engine, window=4), whole)
    plain = by_heads(loads(False)())
    with pytest.raises(ValueError, match="holds a sweep of something else: the model computes other numbers"):
        dla.sweep(corpus, plain, tmp_path / "ray", engine=engine, window=4)


def test_a_model_that_actors_cannot_import_is_refused(heads, cluster, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read .*sweep_subjects.* must be importable on every node"):
        dla.sweep(frame(4), heads, tmp_path, engine=dla.RayEngine(1, address=cluster, load=attributor))


def test_what_cannot_be_sent_is_named(heads, cluster, tmp_path):
    lock = threading.Lock()
    by = dla.Attributor(heads.model, dla.GroupDecomposer(dla.HeadDecomposer(), {"all": lambda _: bool(lock)}))
    with pytest.raises(TypeError, match="The model or decomposer cannot be sent to the actors"):
        dla.sweep(frame(4), by, tmp_path, engine=dla.RayEngine(address=cluster))


def test_a_load_that_ends_its_process_ends_the_sweep(heads, cluster, tmp_path):
    def load():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    engine = dla.RayEngine(1, address=cluster, load=load)
    with pytest.raises(dla.DLAError, match="3 actors died one after the other, .* a load.. that ends its process"):
        dla.sweep(frame(4), heads, tmp_path, engine=engine)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"actors": 3}, "3 actors with 1 CPUs and 0 GPUs each .* room for 2; its nodes have: 2 CPUs and 0 GPUs"),
        ({"actors": 1, "cpus": 64}, "1 actors with 64 CPUs .* room for 0"),
        ({"actors": 1, "gpus": 0.5}, "and 0.5 GPUs each .* room for 0"),
    ],
)
def test_more_than_the_cluster_has_is_refused_at_once(heads, cluster, tmp_path, asked, words):
    with pytest.raises(ValueError, match=words):
        dla.sweep(frame(4), heads, tmp_path, engine=dla.RayEngine(**asked, address=cluster))


def test_an_address_where_nobody_listens_is_refused_at_once(heads, tmp_path):
    with pytest.raises(ValueError, match="Nobody answers at the address '127.0.0.1:1' .*ray start --head"):
        dla.sweep(frame(4), heads, tmp_path, engine=dla.RayEngine(address="127.0.0.1:1"))


@pytest.mark.parametrize("wrong", [{"actors": 0}, {"cpus": 0}, {"gpus": -1}])
def test_an_engine_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"RayEngine: (actors=0|cpus=0|gpus=-\d+)[:.]"):
        dla.RayEngine(**wrong)


@pytest.mark.parametrize(
    ("direction", "decomposer"),
    [
        (dla.LogProbability(dla.Column("answer")), dla.HeadDecomposer()),
        (dla.ResidualVector([1.0] * 64), dla.HeadDecomposer()),
        (dla.Continuation(dla.Column("answer"), dla.Column("incorrect")), dla.SourceDecomposer(spans=["verb"])),
    ],
    ids=["log-probability", "vector", "answers and spans"],
)
def test_questions_travel(cluster, tmp_path, direction, decomposer):
    corpus = frame(12)
    corpus["verb"] = [" ".join(text.split()[-3:-1]) for text in corpus["prompt"]]
    by = attributor(decomposer)
    engine = dla.RayEngine(2, address=cluster, load=partial(dla.demo.load_small, "raw"))
    far = dla.sweep(corpus, by, tmp_path / "far", engine=engine, direction=direction, window=4)
    assert far.count == 12
    assert_same(far, dla.sweep(corpus, by, tmp_path / "here", direction=direction, window=4))
