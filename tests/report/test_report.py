"""The whole report: its files, their determinism, and the figures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.records.schema import Curve
from suite.records.store import Store
from suite.report import write_report
from suite.report.collect import collect
from suite.report.figures import figures
from suite.report.figures.style import PAGE, looks
from tests.report.builder import GLYPHS, cell, record, timing, write

ALGORITHMS = ("sgd", "finetune", "reptile", "fomaml", "maml")


def curve(rng, name):
    if name == "sgd":
        return None
    return Curve(
        steps=[0, 500, 1000],
        train_loss=[None, 1.0, 0.5],
        validation=[4.0, 2.0, float(rng.uniform(0.5, 1))],
        validation_split="validation",
    )


def probe(rng):
    x = np.linspace(-5, 5, 21, dtype=np.float32)
    truth = np.stack([2 * np.sin(x), np.sin(x + 1)])
    support = rng.uniform(-5, 5, size=(2, 10))
    return {
        "probe/x": x,
        "probe/steps": np.array([0, 1, 2]),
        "probe/truth": truth,
        "probe/before_after": truth[:, None] * np.array([0.0, 0.5, 0.9])[None, :, None],
        "probe/support_x": support,
        "probe/support_y": np.stack([2 * np.sin(support[0]), np.sin(support[1] + 1)]),
    }


def made_records():
    """Return records of a regression and an image task, one training and one episode diverged."""
    rng = np.random.default_rng(0)
    made = []
    for name in ALGORITHMS:
        for seed in range(4):
            values = rng.gamma(2, 0.3, size=(4, 3))
            if (name, seed) == ("sgd", 1):
                values[0, 1:] = np.inf
            scores = None if (name, seed) == ("reptile", 3) else {"test": values}
            outer = None if name == "sgd" else 0.005
            made.append(
                record(
                    cell(name, seed),
                    scores,
                    extra=probe(rng) if scores else None,
                    curve=curve(rng, name),
                    times=timing(outer=outer),
                )
            )
            images = rng.integers(0, 255, size=(5, 3, 1, 28, 28), dtype=np.uint8)
            made.append(
                record(
                    cell(name, seed, experiment="glyphs_5w", of=GLYPHS, ways=5, shots=1, query=2),
                    {"test": rng.integers(0, 10, size=(4, 3)) / 10},
                    extra={"pictures/support": images[:, :1], "pictures/query": images[:, 1:]},
                )
            )
    return made


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "records" not in path.parts
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write(folder, *made_records())
    return folder, write_report(folder, "demo").files


def test_files(results):
    folder, paths = results
    found = contents(folder)
    assert sorted(found) == sorted(str(path.relative_to(folder)) for path in paths)
    tables = {
        f"tables/demo/{t}.{k}"
        for t in ("scores", "differences", "timing", "protocol")
        for k in ("md", "tex", "csv")
    }
    names = (
        "learning_curves",
        "adaptation_curves",
        "before_after-sine",
        "episode-glyphs_5w",
        "timing",
    )
    drawn = {f"figures/demo/{name}.{kind}" for name in names for kind in ("pdf", "png")}
    assert set(found) == tables | drawn | {"tables/demo/report.md"}


def test_figures_hold_a_picture(results):
    folder, _ = results
    for name, content in contents(folder).items():
        if name.endswith(".pdf"):
            assert content.startswith(b"%PDF")
            assert b"CreationDate" not in content
        if name.endswith(".png"):
            image = Image.open(io.BytesIO(content))
            assert image.width <= 200 * PAGE + 1
            assert image.info.get("Software") is None
            pixels = np.asarray(image.convert("L"))
            assert len(np.unique(pixels)) > 20
            # Nothing is cut off at the edges.
            for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
                assert (edge == 255).all(), name


def test_two_writes_are_the_same_bytes_whatever_the_order_of_records(results, tmp_path):
    folder, _ = results
    write(tmp_path, *reversed(made_records()))
    write_report(tmp_path, "demo")
    assert contents(tmp_path) == contents(folder)


def test_tables_alone_are_the_same_tables(results, tmp_path):
    folder, _ = results
    write(tmp_path, *made_records())
    paths, beside = write_report(tmp_path, "demo", figures=False)
    assert beside == "", "no paper has numbers for made-up experiments"
    found = contents(tmp_path)
    assert len(paths) == len(found)
    assert found == {k: v for k, v in contents(folder).items() if k.startswith("tables/")}


def test_page_holds_tables_figures_and_what_diverged(results):
    folder, _ = results
    page = (folder / "tables/demo/report.md").read_text(encoding="utf-8")
    for table in ("scores", "differences", "timing", "protocol"):
        assert (folder / f"tables/demo/{table}.md").read_text(encoding="utf-8") in page
        assert f"[LaTeX]({table}.tex)" in page
    assert "](../../figures/demo/before_after-sine.png)" in page
    assert "- sine, reptile: 1 of 4 diverged in training" in page


def test_page_names_files_that_are_no_record(tmp_path):
    store = write(tmp_path, record(cell(), {"test": np.ones((4, 3))}))
    (store.folder / "broken.json").write_text("{")
    write_report(tmp_path, "demo", figures=False)
    page = (tmp_path / "tables/demo/report.md").read_text(encoding="utf-8")
    assert "- broken.json is not a valid record" in page


def test_a_large_grid_has_tables_but_no_figures(tmp_path):
    made = [
        record(
            cell(variant=f"maml[inner_rate={rate}]", parameters={"inner_rate": rate}),
            {"test": np.ones((4, 3))},
        )
        for rate in np.round(np.linspace(0.01, 0.09, 9), 2).tolist()
    ]
    collection = collect(write(tmp_path, *made))
    assert figures(collection, ()) == []
    write_report(tmp_path, "demo")
    assert not (tmp_path / "figures").exists()
    page = (tmp_path / "tables/demo/report.md").read_text(encoding="utf-8")
    assert "Too large for figures: sine (9 algorithms)." in page


def test_everything_diverged_still_gives_a_report(tmp_path):
    write(tmp_path, *[record(cell(name, 0), None) for name in ("sgd", "maml")])
    write_report(tmp_path, "demo")
    page = (tmp_path / "tables/demo/report.md").read_text(encoding="utf-8")
    assert "sine, maml: 1 of 1 diverged in training" in page


def test_mixed_versions_write_nothing(tmp_path):
    made = [record(cell(results_version=v), {"test": np.ones((4, 3))}) for v in ("0.1", "0.2")]
    write(tmp_path, *made)
    with pytest.raises(UserError, match="must not stand in one table"):
        write_report(tmp_path, "demo")
    assert contents(tmp_path) == {}


def test_no_two_algorithms_look_alike():
    names = [*ALGORITHMS, "maml-many", "own", "other"]
    found = looks((name, name.split("-")[0]) for name in names)
    assert list(found) == names
    for part in range(3):
        assert len({look[part] for look in found.values()}) == len(names)
    assert looks([("maml-5", "maml")])["maml-5"] == found["maml"]


def test_records_of_one_profile_alone(tmp_path):
    write(tmp_path, record(cell(), {"test": np.ones((4, 3))}))
    with pytest.raises(UserError, match="run the profile 'other' first"):
        collect(Store(tmp_path, "other"))


def test_what_the_records_no_longer_show_is_deleted_and_nothing_else(tmp_path):
    records = made_records()
    write(tmp_path, *records)
    files = set(write_report(tmp_path, "demo").files)
    own = tmp_path / "tables" / "demo" / "notes.txt"
    own.write_text("a reader's own")
    kept = [one for one in records if one[0].cell.experiment != "glyphs_5w"]
    assert 0 < len(kept) < len(records)
    for path in (tmp_path / "records" / "demo").iterdir():
        path.unlink()
    write(tmp_path, *kept)
    fewer = set(write_report(tmp_path, "demo").files)
    assert fewer < files
    write_report(tmp_path, "demo", figures=False)  # the page links the figures that stand there
    folders = (tmp_path / "tables" / "demo", tmp_path / "figures" / "demo")
    assert {path for folder in folders for path in folder.iterdir()} == fewer | {own}
