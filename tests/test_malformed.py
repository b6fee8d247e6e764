"""Malformed input of every kind: a clear error or a right result, never a traceback.

Each kind is tried on examples drawn by hypothesis, the same ones every time.
"""

from __future__ import annotations

import json
import shutil
import tomllib
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.cell import timing
from suite.cli import cli
from suite.core import registry
from suite.core.errors import UserError
from suite.records.store import Store
from suite.tasks import omniglot_data
from tests.cells import PROFILE
from tests.tasks import archives as omniglot

LOOK = settings(
    max_examples=45,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

LITERALS = st.sampled_from(
    [
        "-1",
        "0",
        "1",
        "7",
        "0.5",
        "-0.5",
        "1e-3",
        "1e400",
        "nan",
        "inf",
        "true",
        "1979-05-27",
        '""',
        '"maml"',
        '"../x"',
        "[]",
        "[1]",
        "[[]]",
        "{}",
        "{ a = 1 }",
        '"\\u0000"',
        "'",
        "}",
        "#",
    ]
)


@pytest.fixture(scope="module", autouse=True)
def _quick_clocks():
    before = timing.BUDGET, timing.REPETITIONS
    timing.BUDGET, timing.REPETITIONS = 0.0, (1, 1)
    yield
    timing.BUDGET, timing.REPETITIONS = before


def invoke(*words):
    """Run the command line; it must end well, or with one sentence and a status of its own."""
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.exit_code in (0, 1, 2)
    if result.exit_code == 2:
        assert "rror: " in result.output or "Usage" in result.output
    return result


@st.composite
def profiles(draw):
    """The tiny profile with lines removed, doubled, or given other values."""
    lines = PROFILE.splitlines()
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["remove", "double", "value", "value", "value", "key", "text"])):
            case "remove":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "value":
                key, _, _ = lines[at].partition(" = ")
                lines[at] = f"{key} = {draw(LITERALS)}"
            case "key":
                lines.insert(at, f"{draw(st.sampled_from(['ways', 'x', 'grid', 'seed']))} = 1")
            case "text":
                lines.insert(at, draw(st.text(max_size=20)))
    return "\n".join(lines)


@LOOK
@given(text=profiles())
def test_profiles(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    path = folder / "p.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    result = invoke("--profile", path, "--results", folder / "out", "--device", "cpu",
                    "--processes", "1", "--no-figures")  # fmt: skip
    if result.exit_code == 0:
        described = tomllib.loads(text)
        count = len(list((folder / "out" / "records").rglob("*.json")))
        assert count >= len(described["seeds"])


PLUGINS = [
    "import nothing_of_this_name",
    "raise RuntimeError('no')",
    "raise SystemExit(3)",
    "raise KeyboardInterrupt",
    "from suite import registry\nregistry.algorithm('maml')(type('A', (), {}))",
    "from suite import registry\nregistry.task('t')(3)",
    "from suite import registry\nregistry.model('')(type('M', (), {}))",
    "from suite import registry\nregistry.algorithm(7)(type('A', (), {}))",
    "from suite.algorithms.base import *\n@registry.algorithm('a')\nclass A(Algorithm): pass",
    "def f(:",
    "x = 1",
    "",
    "\0",
    "import sys\nsys.modules.pop('suite.algorithms.maml')",
]


@LOOK
@given(
    content=st.one_of(
        st.sampled_from(PLUGINS),
        st.text(max_size=60),
        st.tuples(st.sampled_from(PLUGINS), st.integers(0, 60)).map(lambda p: p[0][: p[1]]),
    ).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=60)
)
def test_plugins(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "plugin.py"
    path.write_bytes(content)
    kinds = (registry.algorithms, registry.tasks, registry.models)
    before = [list(kind.names()) for kind in kinds]
    assert invoke("--plugin", path, "--list").exit_code in (0, 2)
    for kind, names in zip(kinds, before, strict=True):
        for name in set(kind.names()) - set(names):
            del kind._items[name]
    assert [kind.names() for kind in kinds] == before


@st.composite
def spoilt(draw, content):
    """Bytes with some changed, taken out, put in, or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(["change", "cut", "take", "put"])):
            case "change":
                content[at] = draw(st.integers(0, 255))
            case "cut":
                del content[max(at, 1) :]
            case "take":
                del content[at : at + draw(st.integers(1, 50))]
            case "put":
                content[at:at] = draw(st.binary(min_size=1, max_size=20))
        if not content:
            break
    return bytes(content)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot_data, "PARTS", omniglot.TINY)
        patch.setenv("FEWSHOT_SUITE_CACHE", str(folder / "cache"))
        for part in omniglot.TINY:
            omniglot.pack(folder / "data", part)
        yield (
            folder / "data",
            omniglot_data.decode_drawings(omniglot_data.find_parts(folder / "data"), "nearest"),
        )


@LOOK
@given(data=st.data())
def test_archives(data, archives, tmp_path_factory):
    whole, truth = archives
    folder = tmp_path_factory.mktemp("data")
    part = data.draw(st.sampled_from(list(omniglot.TINY)))
    for path in whole.iterdir():
        shutil.copy(path, folder)
    path = folder / f"{part}.zip"
    path.write_bytes(data.draw(spoilt(path.read_bytes())))
    try:
        found = omniglot_data.decode_drawings(omniglot_data.find_parts(folder), "nearest")
    except UserError as error:
        assert str(folder) in str(error) or part in str(error)
    else:
        for name, value in truth.items():
            np.testing.assert_array_equal(found[name], value)


NAMES = st.sampled_from(["../../x.png", "/x.png", "a\\b.png", "C:x.png", "x/../../y.png", "ok.png"])


@LOOK
@given(name=NAMES, content=st.binary(max_size=30), part=st.sampled_from(list(omniglot.TINY)))
def test_archives_with_members_of_other_names(name, content, part, archives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for path in archives[0].iterdir():
        shutil.copy(path, folder)
    with zipfile.ZipFile(folder / f"{part}.zip", "a") as archive:
        archive.writestr(name, content)
    with pytest.raises(UserError, match=part):
        omniglot_data.decode_drawings(omniglot_data.find_parts(folder), "nearest")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{p}.zip" for p in omniglot.TINY
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    (folder / "tiny.toml").write_text(PROFILE)
    words = ["--profile", folder / "tiny.toml", "--device", "cpu", "--no-figures"]
    assert invoke(*words, "--results", folder / "out").exit_code == 0
    return folder / "out", words


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def edits(draw, content):
    """A record with one value changed, somewhere, or its bytes spoilt."""
    if draw(st.booleans()):
        return draw(spoilt(content))
    values = json.loads(content)
    at = values
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
            break
        at = inner
    if draw(st.booleans()) and isinstance(at, dict):
        del at[key]
    else:
        at[key] = draw(VALUES)
    return json.dumps(values).encode()


@LOOK
@given(data=st.data())
def test_records(data, results, tmp_path_factory):
    whole, words = results
    folder = tmp_path_factory.mktemp("out")
    shutil.copytree(whole / "records", folder / "records")
    before = {r.cell.label: r for r in Store(whole, "tiny").records()}
    path = data.draw(st.sampled_from(sorted((folder / "records" / "tiny").iterdir())))
    original = path.read_bytes()
    kind = edits(original) if path.suffix == ".json" else spoilt(original)
    path.write_bytes(data.draw(kind))
    for record in Store(folder, "tiny").records():
        assert record == before[record.cell.label]
    invoke(*words, "--results", folder, "report")
    invoke(*words, "--results", folder, "verify")
    assert invoke(*words, "--results", folder).exit_code == 0  # what is not whole runs again
    after = {r.cell.label: r.result_sha256 for r in Store(folder, "tiny").records()}
    assert after == {label: record.result_sha256 for label, record in before.items()}
    assert invoke(*words, "--results", folder, "verify").exit_code == 0


OPTIONS = [
    "--profile",
    "--algorithms",
    "--tasks",
    "--seeds",
    "--device",
    "--engine",
    "--threads",
    "--processes",
    "--results",
    "--data",
    "--plugin",
    "--checkpoint-every",
    "--list",
    "--dry-run",
    "--busy-machine",
    "--no-figures",
    "--nothing",
    "report",
    "verify",
    "list",
]
WORDS = [
    "0",
    "-1",
    "1",
    "0,0",
    "1,2",
    "nan",
    "inf",
    "1e9",
    "maml",
    "mamll",
    "quick",
    "sinusoid",
    "cpu",
    "cuda",
    "tpu",
    ",",
    "a,b",
    "explicit",
    "é",
    "/dev/null",
    "/nowhere/at/all",
    ".",
    "99999999999999",
]


@LOOK
@given(
    words=st.lists(
        st.tuples(st.sampled_from(OPTIONS), st.sampled_from(["", *WORDS])), min_size=1, max_size=3
    )
)
def test_options(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    (folder / "tiny.toml").write_text(PROFILE)
    flat = [word for pair in words for word in pair]
    invoke("--profile", folder / "tiny.toml", "--results", folder / "out", "--list", *flat)
