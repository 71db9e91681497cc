"""The rules that keep the parts apart, read off the syntax trees: who imports whom, and what no part does."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
MAX_COMMAND_LINES, MAX_BODY_LINES = 150, 25
FILES = sorted(path for package in ("lebm_text", "lm_eval") for path in (ROOT / package).rglob("*.py"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in FILES}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}

# From the bottom to the top: a module imports from its own layer and from those below it. The longest name counts, and
# so a module may stand elsewhere than its package. Of `lebm_text` itself all may import the version.
LAYERS = (
    ("__version__", "errors", "checks", "progress", "random", "threads", "torch_state", "transfer", "visible"),
    ("writing", "store", "plugins", "metrics", "environment", "judges", "cuda_graphs"),
    ("samplers",),  # of any density: they know neither models nor text
    ("text",),
    ("models",),
    ("inference",),
    ("sections", "plugin_sections", "config", "presets", "plugin_trial", "build", "processes"),
    ("run_files", "run", "sharing.hub"),  # a run is named as a directory, or as the Hub has it
    ("weights",),
    ("generation", "model"),  # below training, which draws samples after each epoch, to show and to judge them
    ("likelihood",),
    ("training",),
    ("reports",),
    ("page",),
    ("sharing", "app", "training.tracking"),  # which show others the reports on a run
    ("experiments",),
    ("cli",),
    ("__main__",),
)
RANKS = {f"lebm_text.{name}": rank for rank, names in enumerate(LAYERS) for name in names}
# Upward all the same: the importer, what it imports, and why.
UPWARD = [
    ("lebm_text.run", "lebm_text.model", "`Run.model` loads the model that lies in the run"),
    ("lebm_text.run", "lebm_text.reports", "`Run.reports` loads the reports that lie in the run"),
    ("lebm_text.model", "lebm_text.reports", "`LatentEBM` has neighbours, scores and paths as methods"),
    ("lebm_text.model", "lebm_text.sharing.push", "`LatentEBM.push_to_hub`, as other libraries have it"),
]

# Besides, a module of the first column may import none of the second.
FORBIDDEN = [
    ("lebm_text.models", ("lebm_text.samplers",)),
    ("lebm_text.text", ("torch.nn", "lebm_text.samplers")),
    ("lebm_text", ("lm_eval",)),
    ("lebm_text.reports", ("click",)),
    ("", ("pickle", "dill", "cloudpickle", "joblib")),
]
EXCEPTIONS = {
    "lebm_text.cli": ("lm_eval",),
    "lebm_text.experiments": ("lm_eval",),
    "lebm_text.reports": ("lm_eval",),
    "lebm_text.training.train": ("lm_eval",),  # the judge of training.select = valid_kn5
}
JUDGES_MAY_IMPORT = (
    "lebm_text.text",
    "lebm_text.models",
    "lebm_text.store",
    "lebm_text.errors",
    "lebm_text.checks",
    "lebm_text.progress",
    "lebm_text.plugins",
    "lebm_text.torch_state",
    "lebm_text.transfer",
    "lebm_text.cuda_graphs",
)
GLOBAL_STATE = {
    "print",
    "sys.exit",
    "torch.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.set_default_dtype",
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
    "os.putenv",
    "torch.load",
}
# `str.split()` and its kin also part at no-break spaces, U+2028, form feeds and others, which belong to a word.
OTHER_SPACES = {"split", "rsplit", "splitlines", "strip", "lstrip", "rstrip"}
WITHOUT_SENTENCES = (
    "lebm_text.config",
    "lebm_text.sections",
    "lebm_text.environment",
    "lebm_text.experiments",
    "lebm_text.page",
    "lebm_text.training.events",
    "lebm_text.reports.svg",
    "lebm_text.cli.console",
    "lebm_text.cli.experiment",
    "lebm_text.cli.main",
    "lebm_text.threads",
    "lebm_text.cli.options",
)
SAID_BY_PROGRAMS = ("finished.stderr", "finished.stdout")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that `path` imports, at the top or inside functions."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{source}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def rank(name: str) -> int | None:
    """The layer of a module or of a name in one. Raises KeyError for one in no layer.

    None outside `lebm_text`, and of `lebm_text` itself, which imports its public names when they are asked for.
    """
    if not within(name, ("lebm_text",)) or name == "lebm_text":
        return None
    return RANKS[max((part for part in RANKS if within(name, (part,))), key=len, default=name)]


def allowed(importer: str, imported: str) -> bool:
    if within(importer, ("lm_eval",)) and within(imported, ("lebm_text",)):
        return within(imported, JUDGES_MAY_IMPORT)
    own, other = rank(importer), rank(imported)
    if own is not None and other is not None and own < other:
        return any(importer == above and within(imported, (names,)) for above, names, _ in UPWARD)
    excepted = any(within(importer, (part,)) and within(imported, names) for part, names in EXCEPTIONS.items())
    return excepted or not any(
        (not part or within(importer, (part,))) and within(imported, names) for part, names in FORBIDDEN
    )


def identifier(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_only_what_its_part_may() -> None:
    names = {path: module_name(path) for path in FILES}
    pairs = [(names[path], imported) for path in FILES for imported in imports(path)]
    assert [pair for pair in pairs if not allowed(*pair)] == []


@pytest.mark.parametrize(("importer", "imported"), [each[:2] for each in UPWARD])
def test_the_exceptions_are_needed(importer: str, imported: str) -> None:
    path = next(path for path in FILES if module_name(path) == importer)
    assert any(within(name, (imported,)) for name in imports(path))


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("lebm_text.models.generator", "lebm_text.samplers.langevin"),
        ("lebm_text.samplers.langevin", "lebm_text.models"),
        ("lebm_text.samplers.langevin", "lebm_text.config.Config"),
        ("lebm_text.inference.base", "lebm_text.build.build_model"),
        ("lebm_text.generation.generate", "lebm_text.training"),
        ("lebm_text.training.train", "lebm_text.reports.base.Report"),
        ("lebm_text.training.train", "lebm_text.training.tracking"),
        ("lebm_text.training.loop", "lm_eval.ngram"),
        ("lebm_text.model", "lebm_text.cli.main"),
        ("lm_eval.lstm", "lebm_text.build"),
        ("lebm_text.training.checkpoint", "pickle"),
    ],
)
def test_the_rules_refuse_what_they_are_for(importer: str, imported: str) -> None:
    assert not allowed(importer, imported)


def test_judges_name_their_package_by_dots_alone() -> None:
    """Another distribution has the import name `lm_eval`, too: relative imports cannot reach it."""
    found = []
    for path in (path for path in FILES if path.is_relative_to(ROOT / "lm_eval")):
        nodes = list(ast.walk(TREES[path]))
        absolute = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        absolute += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        found += [(identifier(path), name) for name in absolute if within(name, ("lm_eval",))]
    assert found == []


def test_relative_imports_are_resolved() -> None:
    assert "lebm_text.text.encoding.pack" in set(imports(ROOT / "lebm_text" / "text" / "tokenizers.py"))


def test_files_are_short() -> None:
    def most(path: Path) -> int:
        is_command = path.parent.name == "cli" and path.stem not in ("main", "options", "console")
        return MAX_COMMAND_LINES if is_command else MAX_LINES

    lengths = {path: len(text.splitlines()) for path, text in TEXTS.items()}
    assert {identifier(path): length for path, length in lengths.items() if length > most(path)} == {}


def long_commands(tree: ast.AST) -> list[str]:
    """Functions decorated as commands whose body, without its docstring, is longer than it may be."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    commands = [each for each in functions if any(".command" in ast.unparse(by) for by in each.decorator_list)]
    return [each.name for each in commands if (each.body[-1].end_lineno or 0) - body_start(each) > MAX_BODY_LINES]


def body_start(function: ast.FunctionDef) -> int:
    """The line before the first statement, or the last line of the docstring."""
    first = function.body[0]
    return (first.end_lineno or 0) if ast.get_docstring(function) else first.lineno - 1


def test_a_command_parses_calls_one_function_and_shows_what_it_gave() -> None:
    """What is longer belongs into the library."""
    trees = {identifier(path): tree for path, tree in TREES.items() if path.parent.name == "cli"}
    assert {name: found for name, tree in trees.items() if (found := long_commands(tree))} == {}


@pytest.mark.parametrize("docstring", ["", '    """Do\n    it."""\n'])
def test_long_commands_are_found(docstring: str) -> None:
    body = docstring + "    x = 1\n" * MAX_BODY_LINES
    command = f"@group.command('y')\n@option\ndef y() -> None:\n{body}"
    assert long_commands(ast.parse(command)) == []
    assert long_commands(ast.parse(f"{command}    z = 2\n")) == ["y"]
    assert long_commands(ast.parse(f"def helper() -> None:\n{body}{body}")) == []


def test_every_module_imports() -> None:
    for path in FILES:
        importlib.import_module(module_name(path))


def test_library_leaves_the_process_alone() -> None:
    """No printing, no exit, no global seed, nothing loaded by pickle."""
    found = {}
    for path in (path for path in FILES if path.parent.name != "cli"):
        calls = {ast.unparse(node.func) for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)}
        if bad := calls & GLOBAL_STATE:
            found[identifier(path)] = bad
    assert found == {"lebm_text/__main__.py": {"sys.exit"}}


def splits_at_other_spaces(tree: ast.AST) -> list[str]:
    """Calls that cut a text at more than `split_words` and the lines of `reading` do; `" ".join(x.split())` is none."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    squeezed = [
        ast.unparse(argument) for node in calls if ast.unparse(node.func) == "' '.join" for argument in node.args
    ]
    found = []
    for node in calls:
        if isinstance(node.func, ast.Attribute) and node.func.attr in OTHER_SPACES:
            argument = ast.unparse(node.args[0]) if node.args else "None"
            at_spaces = argument == "None" or node.func.attr == "splitlines"
            words = node.func.attr in ("split", "rsplit") and argument in ("' '", "b' '")
            text = ast.unparse(node)
            if (at_spaces or words) and text not in squeezed and not text.startswith(SAID_BY_PROGRAMS):
                found.append(text)
    return found


def test_sentences_are_split_by_split_words_alone() -> None:
    """Else two parts of the program count the words of one sentence differently; a message may use `" ".join(…)`."""
    excepted = ("lebm_text.text.reading", *WITHOUT_SENTENCES)
    paths = [path for path in FILES if not within(module_name(path), excepted)]
    assert {identifier(path): found for path in paths if (found := splits_at_other_spaces(TREES[path]))} == {}


@pytest.mark.parametrize(
    "call", ["len(line.split())", "x.strip()", "t.splitlines()", "line.split(' ')", "b.split(None, 1)"]
)
def test_other_spaces_are_found(call: str) -> None:
    assert splits_at_other_spaces(ast.parse(call))
