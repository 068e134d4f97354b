import json

from tinytale.recipes import RECIPES


def test_json_is_one_object_that_knows_every_recipe(tale):
    facts = json.loads(tale("doctor", "--json").out)
    assert {"python", "torch", "device", "bfloat16 products", "C++ compiler", "attention", "decoder"} <= facts.keys()
    assert {"memory", "disk"} <= facts.keys()
    assert [row["recipe"] for row in facts["recipes"]] == list(RECIPES)
    (gpt2,) = [row for row in facts["recipes"] if row["recipe"] == "gpt2"]
    assert gpt2["weights"] == 124_439_808


def test_a_person_sees_tables(tale):
    ended = tale("doctor")
    assert ended.code == 0 and ended.out == "" and "What fits" in ended.err


def test_a_machine_without_a_compiler_is_told_so(tale, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "fall back to eager" in json.loads(tale("doctor", "--json").out)["C++ compiler"]
