from pathlib import Path

from tinytale.report.front_page import BEGIN, END, results_table, with_results


def test_the_figures_of_the_readme_are_those_of_the_results_files(repository: Path):
    page = (repository / "README.md").read_text(encoding="utf-8")
    assert with_results(page, results_table(repository)) == page


def test_only_what_is_between_the_marks_changes():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_results(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
