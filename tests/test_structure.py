"""The house stays as drawn: arrows point down, rooms know their neighbours only by name of the abstract, nothing heavy at the door."""

import ast
import operator
import subprocess
import sys
from pathlib import Path

import pytest

import softgrad
from softgrad import losses

HOUSE = Path(__file__).parents[1]
SOURCE = HOUSE / "src" / "softgrad"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(SOURCE.rglob("*.py"))
}

LAZY = {f"softgrad.{module}" for module in MODULES}

# A floor for every room or package. A name that is missing here makes the test red: say where the new room lies.
FLOORS = {
    "arrays": 0, "threads": 0, "plugged": 0, "atomic": 0, "row_source": 0, "differences": 0, "causes": 0, "paper": 0,
    "result_memory": 0, "widening": 0,
    "cholesky": 1, "losses": 1, "sources": 1, "model_file": 1,
    "data": 2, "blocks": 2, "kernels": 2, "solvers": 2,
    "objective": 3, "precondition": 3, "curvature": 3, "heads": 3,
    "training": 4, "siblings": 4, "linear_head": 4, "path": 4, "descent": 4, "progress": 4,
    "linear_classifier": 5, "solved_classifier": 5, "classifier": 5, "multi_label": 5, "hierarchical_classifier": 5,
    "classifier_cv": 5, "held_out": 5, "checkpoint": 5, "saved_descent": 5, "saved_path": 5, "stochastic": 5,
    "explanation": 5, "gradient_check": 5, "diagnosis": 5,
    "report": 6, "pictures": 6, "saved_models": 6,
    "cli": 7, "__main__": 7,
    "__init__": 8,
}  # fmt: skip

# Rooms that others on their floor, or of their package, may import: the abstract ones, which say what the others are.
ABSTRACT = {
    "row_source", "sources.file", "losses.loss", "losses.part", "kernels.fused", "blocks.block", "solvers.solver", "solvers.vectors",
    "data.dataset", "data.reading", "linear_classifier", "solved_classifier",
}  # fmt: skip

# Arrows between rooms of one floor that are meant, and why.
MEANT = {
    ("losses.scores", "losses.softmax"): "dividing scores by T without rounding is softmax's craft (`divided`)",
    ("losses.loss", "losses.scores"): "the temperature is a number that is learned too (`temperature_gradient`)",
    ("losses.margins", "losses.scores"): "whose label a margin is for (`labels`)",
    ("losses.longtail", "losses.*"): "losses by name are put together from parts",
    ("losses.angular", "losses.*"): "losses by name are put together from parts",
    ("losses.tsallis", "losses.softmax"): "exact differences and products, likewise",
    ("losses.zero_bounded", "losses.sigmoid"): "the probability of one class by itself",
    ("losses.zero_bounded", "losses.softmax"): "its two sums are a softmax's, with a score 0 beside them",
    ("losses.squared", "losses.softmax"): "the probabilities of Brier's loss are a softmax's",
    ("losses.two_temperatures", "losses.tsallis"): "tempered probabilities are entmax's",
    ("losses.links_named", "losses.*"): "a loss with a name of its own is made of parts",
    ("losses.sampled", "losses.composed"): "the sampled classes of a row have their cross-entropy",
    ("losses.composed", "losses.*"): "a loss is put together from the parts, with those of cross-entropy where none is named",
    ("losses.groups", "losses.softmax"): "exact differences of scores are softmax's craft",
    ("losses.hierarchical", "losses.softmax"): "one softmax over the leaves gives HXE's probabilities",
    ("losses.hierarchical", "losses.groups"): "the hierarchical links are sums over groups",
    ("losses.hierarchical", "losses.tree"): "of a tree",
    ("losses.terms", "losses.softmax"): "terms speak of its exponentials",
    ("losses.distilled", "losses.softmax"): "both sides of the divergence are softmaxes",
    ("losses.distilled", "losses.targets"): "what a teacher says are distributions",
    ("losses.named", "losses.*"): "a named loss is put together from the parts",
    ("losses.described", "losses"): "the parts of a kind are looked for in every room",
    ("losses.described", "losses.composed"): "a description is put together again",
    ("precondition", "objective"): "a metric is made for one objective, whose vector it takes apart and joins",
    ("solvers.saved", "solvers.lbfgs"): "a run is taken apart by who knows its parts",
    ("siblings", "training"): "a hierarchical softmax is fitted as one softmax for each node",
    ("path", "training"): "a path is many fits: their problem, metric and result are said there",
    ("classifier_cv", "held_out"): "a search scores rows held out",
    ("classifier_cv", "checkpoint"): "a search keeps its state in a file",
    ("stochastic", "checkpoint"): "likewise",
    ("solved_classifier", "checkpoint"): "likewise",
    ("checkpoint", "saved_descent"): "a training is taken apart by who knows its parts",
    ("checkpoint", "saved_path"): "likewise",
    ("solvers.sgd", "solvers.rules"): "stochastic descent is put together from its parts",
    ("solvers.sgd", "solvers.schedules"): "stochastic descent is put together from its parts",
    ("descent", "training"): "a grid is made of problems, and gives fits",
    ("data.door", "data.*"): "the door chooses among the readers",
    ("data.shards", "data.npy"): "a shard is an .npy file",
    ("data.cifar10", "data.array_pickle"): "the official files are pickles",
    ("data.assemble", "data.split"): "a data set without a test part is split",
    ("cli", "cli.*"): "the entry chooses among the commands",
    ("cli.*", "cli.console"): "every command writes to the terminal in one way",
    ("cli.*", "cli.parser"): "the parsed arguments have their type there",
    ("cli.*", "cli.machine"): "what the machine is: told by info and by bench",
    ("cli.*", "cli.results"): "files that a command leaves behind",
    ("cli.*", "cli.notes"): "what a fit notes down about itself",
    ("cli.sweep", "cli.*"): "a sweep is put together from searches",
    ("cli.*", "cli.live"): "a search is watched while it runs",
    ("cli.*", "cli.states"): "and leaves its state",
    ("cli.*", "cli.read"): "data are read in one way",
    ("cli.apply", "cli.columns"): "and may have columns that the fit had",
    ("cli.*", "cli.record"): "and writes down every pass",
    ("cli.*", "cli.tried"): "what searches try, and the table of it",
    ("__main__", "cli"): "python -m softgrad is the command line",
}


def package(module):
    return module.split(".")[0] or "__init__"


def name_of(text):
    """Module of the library that `from text import ...` or `import text` means: 'losses.loss' for softgrad.losses.loss."""
    return text.removeprefix("softgrad").removeprefix(".") or "__init__"


def imports(module, source):
    """Rooms that a room imports, wherever in it and however, as (name, line)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((name_of(a.name), node.lineno) for a in node.names if a.name.split(".")[0] == "softgrad")
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{module}:{node.lineno} imports by dots; say the name")
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "softgrad":
            for alias in node.names:  # `from softgrad.data import idx` means the room, `import load` the door
                inner = name_of(f"{node.module}.{alias.name}")
                yield (inner if inner in MODULES else name_of(node.module)), node.lineno
        elif isinstance(node, ast.Constant) and node.value in LAZY:  # what import_module is given
            yield name_of(node.value), node.lineno


def matches(module, pattern):
    return module == pattern or (pattern.endswith(".*") and module.startswith(pattern[:-1]))


def allowed(module, imported):
    """Whether the arrow may be drawn."""
    here, there = FLOORS[package(module)], FLOORS[package(imported)]
    if imported == "__init__":
        return here == 7  # commands are users; they come in by the front door
    if there != here:
        return there < here
    if "." not in module and package(imported) == module and MODULES[module].name == "__init__.py":
        return True  # a package's door names its rooms
    return imported in ABSTRACT or any(matches(module, a) and matches(imported, b) for a, b in MEANT)


def test_every_room_has_a_floor():
    assert {package(module) or "__init__" for module in MODULES if module} <= set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_down(module):
    name = module or "__init__"
    source = MODULES[module].read_text()
    wrong = [f"{name}:{line} imports {imported}" for imported, line in imports(name, source) if not allowed(name, imported)]
    assert not wrong


def test_the_rule_can_be_broken():
    """The checks above see lazy imports, upward arrows and neighbours."""
    source = """def f():
    from softgrad.training import fit
    import softgrad.losses.targets
from softgrad.losses import loss
importlib.import_module("softgrad.report")"""
    assert dict(imports("losses.weights", source)) == {
        "training": 2,
        "losses.targets": 3,
        "losses.loss": 4,
        "report": 5,
    }
    assert not allowed("losses.weights", "training")
    assert not allowed("losses.weights", "losses.targets")
    assert allowed("losses.weights", "losses.loss")
    assert not allowed("kernels.tiled", "kernels.native")
    assert not allowed("objective", "__init__")
    assert not allowed("objective", "precondition")
    with pytest.raises(AssertionError):
        list(imports("losses.weights", "from . import loss"))


def test_exceptions_are_still_needed():
    """An arrow that nobody draws any more leaves the list."""
    drawn = {(m or "__init__", imported) for m, path in MODULES.items() for imported, _ in imports(m, path.read_text())}
    unused = [pair for pair in MEANT if not any(matches(a, pair[0]) and matches(b, pair[1]) and a != b for a, b in drawn)]
    assert not unused


# ---- what is loaded -------------------------------------------------------------------------------------------------

HEAVY = ("scipy", "sklearn", "matplotlib", "pandas", "torch", "PIL")


def loaded(statement):
    """Heavy packages in memory after a statement, in a Python of its own."""
    code = f"{statement}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    return ast.literal_eval(out.stdout)


def test_the_front_door_loads_nothing_and_the_losses_numpy_only():
    code = "import softgrad, sys; dir(softgrad); assert not {'numpy', 'softgrad.losses', 'softgrad.kernels'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert loaded("import softgrad; softgrad.losses.cross_entropy().value_and_grad([[1.0, 2.0]], [0])") == []


def test_what_is_plugged_in_is_there_when_it_is_needed():
    """The compiled rows, if there are any, for whoever takes losses alone, and on several threads at once."""
    code = """from concurrent.futures import ThreadPoolExecutor
import sys
import numpy as np
from softgrad.losses import cross_entropy
from softgrad.losses.loss import schedule_for
assert "softgrad.kernels.native" not in sys.modules
with ThreadPoolExecutor(8) as pool:
    found = set(pool.map(lambda _: schedule_for(cross_entropy(), np.dtype(np.float32)), range(64)))
native = sys.modules["softgrad.kernels.native"]
assert found == {native._score_rows} or native.module is None, found"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_that_test_can_fail():
    assert {"scipy", "sklearn"} <= set(loaded("import softgrad.classifier"))
    assert loaded("import softgrad; softgrad.SoftmaxClassifier") != []


def test_names_at_the_front_door_are_there():
    code = "import softgrad as s\nfor name in s.__all__: getattr(s, name)\nassert set(s.__all__) <= set(dir(s))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        operator.attrgetter("nothing")(softgrad)


def test_losses_are_found_where_their_table_says():
    """What a type checker reads, what `__all__` tells and what is looked up are one list; no room takes the name of a function."""
    tree = ast.parse(MODULES["losses"].read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If)).body
    assert {node.module.split(".")[-1]: tuple(alias.name for alias in node.names) for node in checked} == losses.ROOMS
    at_once = {"Softmax", "log_softmax", "logsumexp", "softmax", "softmax_jacobian"}
    assert sorted([*at_once, *(name for names in losses.ROOMS.values() for name in names)]) == sorted(losses.__all__)
    rooms = {module.removeprefix("losses.") for module in MODULES if module.startswith("losses.")}
    assert rooms & set(losses.__all__) == {"softmax"}
    assert callable(losses.softmax)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        operator.attrgetter("nothing")(losses)


def test_losses_are_loaded_when_they_are_asked_for():
    code = """import softgrad, sys
assert "softgrad.losses.named" not in sys.modules and "softgrad.losses.hinge" not in sys.modules
softgrad.losses.cross_entropy
assert "softgrad.losses.named" in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---- size -----------------------------------------------------------------------------------------------------------

FILES = [
    path
    for folder, end in (("src/softgrad", "py"), ("native", "[ch]pp"), ("tests", "py"))
    for path in sorted((HOUSE / folder).rglob(f"*.{end}"))
]


def body_lines(function):
    """Lines of a function's statements, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) < 400


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_on_a_screen(module):
    functions = [n for n in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [(f.name, body_lines(f)) for f in functions if body_lines(f) >= 40] == []


def test_there_is_no_drawer():
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "stuff"}
    assert [path for path in FILES if path.stem.strip("_") in drawers] == []


def test_every_room_says_what_it_is():
    assert [module for module, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))] == []
