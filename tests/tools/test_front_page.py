import json
import math
from pathlib import Path
from shutil import copytree

from front_page import BEGIN, END, beside_table, results_table, with_results
from tinytale.addons.report.paper.material import Material, Results, RunMaterial


def test_the_figures_of_the_readme_are_those_of_the_results_files(repository: Path):
    page = (repository / "README.md").read_text(encoding="utf-8")
    assert with_results(page, results_table(repository)) == page


def test_only_what_is_between_the_marks_changes():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_results(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def rows_of(table: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def test_models_stand_beside_baselines_on_the_test_split_once_all_of_these_have_been_scored_there(
    repository: Path, tmp_path: Path
):
    for folder in ("docs/results/baselines", "docs/results/pocket", "weights/small"):
        copytree(repository / folder, tmp_path / folder)
    files = sorted((tmp_path / "docs/results/baselines").rglob("*.json"))
    bits = (("5-gram", 0.91), ("uniform", 3.1), ("unigram", 2.2))

    def material() -> Material:
        return Material((RunMaterial.read(tmp_path / "weights/small", "small"),), Results(tmp_path / "docs/results"))

    (own,) = (tmp_path / "weights/small/evaluation").glob("*.json")
    sizes = {key: json.loads(own.read_text())["test"][key] for key in ("split", "stories", "bytes", "tokens_scored")}
    for place, (file, (name, value)) in enumerate(zip(files, bits, strict=True)):
        assert material().shared_split == "dev" and file.parent.name == name, place
        results = {"dev": json.loads(file.read_text())["dev"]}
        view = {"loss": 9.0, "bits_per_byte": value, "interval_95": [value - 0.125, value + 0.125]}
        results["test"] = {**results["dev"], **sizes, "views": {"stories": view}}
        file.write_text(json.dumps(results))
    assert material().shared_split == "test"
    found = rows_of(beside_table(material(), "test", tmp_path))
    assert list(found)[:5] == ["4,457 stories of test", "---", "uniform", "unigram", "5-gram"]
    assert found["5-gram"][:2] == ["9.000", "0.910 (0.785 to 1.035)"] and "small" in found
    assert "pocket" not in found and "pocket" in rows_of(beside_table(material(), "dev", tmp_path))


def test_a_published_loss_becomes_bits_per_byte_by_the_bytes_of_its_tokens(repository: Path):
    material = Material(
        (RunMaterial.read(repository / "weights/small", "small"),), Results(repository / "docs/results")
    )
    found = rows_of(beside_table(material, "dev", repository))
    for model in material.published.get("models"):
        loss, bits, page = found[f"_published_: {model['name']}"]
        assert float(loss.strip("_")) == round(model["loss"], 2) and model["page"] in page
        assert float(bits.strip("_")) == round(math.log2(math.exp(model["loss"])) / model["bytes_per_token"], 2)
