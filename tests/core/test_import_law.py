"""The law of imports: the core imports the core, an add-on imports the core, itself and what it builds on.

docs/architecture.md draws it. Tools import anything, and nothing of the package imports them.
"""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "tinytale"

LAYERS = (
    ("errors", "advice", "files", "console", "resources"),
    ("config",),
    ("allocator", "hardware", "recipes", "runs", "lock", "native"),
    ("model", "data"),
    ("training", "generation"),
    ("evaluation",),
    ("storyteller",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""The core, bottom to top."""

BUILDS_ON = {
    "dry_run": set(),
    "builtin": set(),
    "chat": set(),
    "doctor": set(),
    "figures": set(),
    "hub": set(),
    "inspection": {"figures"},
    "interop": {"hub", "report"},
    "judge": {"quality"},
    "quality": {"survey"},
    "report": {"figures", "inspection", "quality"},
    "serve": {"inspection"},
    "study": {"figures"},
    "survey": {"figures"},
}
"""The add-ons, and the others that each may import."""

SEAMS = {
    "data/stories.py": {"builtin", "hub"},
    "data/tokenizer.py": {"hub"},
    "commands/evaluate.py": {"quality", "judge"},
    "commands/train.py": {"dry_run"},
}
"""Where the core reaches up to an add-on: inside a function, so that it runs without."""

HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}

CORE = ("model", "data", "training", "generation", "evaluation")
CORE_LIBRARIES = {"torch", "numpy", "tokenizers", "safetensors", "jaxtyping", "rich"}
LAZY_LIBRARIES = {"huggingface_hub", "pyarrow"}
"""Only needed for some sources: imported inside functions."""


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in tree.body) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", node in tree.body))
            found += [
                (f"tinytale.{alias.name}", node in tree.body) for alias in node.names if node.module == "tinytale"
            ]
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_law(path: Path):
    room = room_of(path)
    addon = path.relative_to(SOURCE).parts[1] if room == "addons" and path.parent.name != "addons" else None
    assert room == "addons" or room in HEIGHT, f"{room} is not in the law"
    for module, top in imports(path):
        parts = module.split(".")
        if parts[0] != "tinytale" or len(parts) == 1 or parts[1] == "__version__":
            continue
        target = parts[1]
        if target == "addons":
            seam = not top and parts[2] in SEAMS.get(path.relative_to(SOURCE).as_posix(), ())
            allowed = {addon, *BUILDS_ON[addon]} if addon else ()
            assert seam or parts[2] in allowed, f"{path} imports {module}"
        elif room != "addons":
            same_floor_allowed = target == room or HEIGHT[target] == 0
            assert HEIGHT[target] < HEIGHT[room] or same_floor_allowed, f"{path}: {room} imports {module}"


def test_every_add_on_is_in_the_law_and_says_what_it_is():
    folders = {path.name for path in (SOURCE / "addons").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(BUILDS_ON)
    assert all((SOURCE / "addons" / name / "README.md").is_file() for name in folders)


def test_model_and_data_do_not_know_each_other():
    for path in FILES:
        rooms = {module.split(".")[1] for module, _ in imports(path) if module.startswith("tinytale.")}
        if room_of(path) == "model":
            assert rooms <= {"config", "errors", "advice", "files", "native", "model"}, path
        if room_of(path) == "data":
            assert rooms <= {"data", "errors", "advice", "files", "console", "lock", "resources", "addons"}, path


@pytest.mark.parametrize(
    "path", [p for p in FILES if room_of(p) in CORE], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_the_core_needs_only_its_libraries(path: Path):
    import sys

    for module, top in imports(path):
        library = module.split(".")[0]
        if library in sys.stdlib_module_names or library == "tinytale":
            continue
        assert library in CORE_LIBRARIES or (library in LAZY_LIBRARIES and not top), f"{path} imports {module}"


def test_nothing_imports_the_command_line():
    for path in FILES:
        if room_of(path) not in ("commands", "cli", "__main__", "addons"):
            assert not [m for m, _ in imports(path) if m.startswith(("tinytale.commands", "tinytale.cli"))], path


def test_the_command_line_answers_without_torch(repository):
    """Importing the command line must not import torch: `--help` has to be instant."""
    import subprocess
    import sys

    code = "import sys, tinytale.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository / "src").returncode == 0
