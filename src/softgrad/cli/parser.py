"""The words of the command: verbs, options, their defaults and their domains. Standard library only."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

Arguments = argparse.Namespace
Number = Callable[[str], float]

# verb -> room and function; the room is imported when the verb is run, not when the help is shown
ROOMS = {
    "fit": ("fit", "fit"),
    "predict": ("apply", "predict"),
    "evaluate": ("apply", "evaluate"),
    "sweep": ("sweep", "sweep"),
    "explain": ("explain", "explain"),
    "bench": ("bench", "bench"),
    "info": ("info", "info"),
}
# solver of a sweep -> options that mean something to the other one only
OF_SOLVER = {"lbfgs": ("learning_rates", "regs", "iterations"), "sgd": ("early_stopping",)}
SOURCE = "digits, a .npz, .npy, .csv or .tsv file, or a folder with CIFAR-10 or IDX (MNIST) files"


class OneLineParser(argparse.ArgumentParser):
    """argparse that says what is wrong in one line, as the rest of the command does."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def parse(argv: Sequence[str] | None) -> Arguments:
    """The arguments of a call; SystemExit(2) for one that cannot be meant."""
    parser = _parser()
    arguments = parser.parse_args(_joined(sys.argv[1:] if argv is None else argv))
    for name in OF_SOLVER.get(getattr(arguments, "solver", ""), ()):
        if getattr(arguments, name):
            parser.error(f"--{name.replace('_', '-')}: is not for --solver {arguments.solver}")
    if getattr(arguments, "unlabelled", False) and (arguments.label is not None or arguments.split != "all"):
        parser.error("--unlabelled: has neither a label column nor parts")
    return arguments


def _joined(words: Sequence[str]) -> list[str]:
    """`--scores -3,2` as `--scores=-3,2`: argparse would take the list for an option, as it begins with a minus and is not one number."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--scores", "--label") and word[:1] == "-" and word[1:2] in tuple(".0123456789i"):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def verb(arguments: Arguments) -> Callable[[Arguments], None]:
    """The function that does what was asked for."""
    room, name = ROOMS[arguments.verb]
    return getattr(import_module(f"softgrad.cli.{room}"), name)


def _parser() -> argparse.ArgumentParser:
    top = OneLineParser(
        prog="softgrad",
        description="Linear softmax classifiers, fitted to their optimum: on pixels, embeddings, tables.",
        epilog="Exit codes: 0 done, 1 failed (one line says why), 2 a call that cannot be meant, 130 stopped, 141 nobody reads stdout.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=OneLineParser)
    _fit(_add(verbs, "fit", "fit a classifier to a data set; writes model, numbers and pictures"))
    _sweep(_add(verbs, "sweep", "choose the strength of the penalty by held-out rows; writes model, table and pictures"))
    _predict(_add(verbs, "predict", "print the predicted class of each row"))
    _evaluate(_add(verbs, "evaluate", "accuracy, log loss, recall of each class, pairs confused most"))
    _explain(_add(verbs, "explain", "every step from the scores of one row to its loss and gradient"))
    _bench(_add(verbs, "bench", "loops against matrices against the fused pass, on this machine"))
    _json(_add(verbs, "info", "versions, threads and kernels in use"))
    return top


def _add(verbs: Any, name: str, words: str) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")


def _option(parser: argparse.ArgumentParser, name: str, **details: Any) -> None:
    """Add an option; a default that is a value goes into its help (those that are not are told there in words)."""
    if details.get("default") is not None:
        details["help"] += " (default: %(default)s)"
    parser.add_argument(name, **details)


def _fit(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("source", type=name, metavar="SOURCE", help=SOURCE)
    add("--C", type=positive, default=1.0, metavar="C", help="inverse strength of the penalty, as in scikit-learn; inf: none")
    _model_options(parser)
    add("--tol", type=finite, default=1e-5, metavar="G", help="done when no entry of the gradient is larger, on the scaled features")
    add("--max-iter", type=counter, default=200, metavar="N", help="iterations at most")
    _split_options(parser)
    _memory_option(parser)
    _output_options(parser)


def _sweep(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("source", type=name, metavar="SOURCE", help=SOURCE)
    words, Cs = "inverse strengths of the penalty, as in scikit-learn (default: %(default)s)", "1e-4,1e-3,0.01,0.1,1,10,100"
    strengths = parser.add_mutually_exclusive_group()
    strengths.add_argument("--Cs", type=finites, default=Cs, metavar="C,C,...", help=words)
    strengths.add_argument("--regs", type=finites, metavar="R,R,...", help="sgd: strengths R/2 |W|^2 beside the mean loss instead")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--cv", type=folds, default=5, metavar="F", help="folds, shuffled and stratified (default: %(default)s)")
    held_out.add_argument("--holdout", type=inner_share, metavar="P", help="one split instead: part of the training rows held out")
    best = "what the best is best in, by scikit-learn's name (default: lbfgs: neg_log_loss; sgd: accuracy, then log loss)"
    add("--scoring", type=scorer, metavar="NAME", help=best)
    solvers = "lbfgs: every fit to its optimum; sgd: mini-batches, all fits of a fold in one stream"
    add("--solver", choices=["lbfgs", "sgd"], default="lbfgs", help=solvers)
    add("--learning-rates", type=finites, metavar="L,L,...", help="sgd: rates, each tried with every strength (default: a safe one)")
    add("--iterations", type=counter, metavar="K", help="sgd: steps of each fit (default: 20 passes over the rows)")
    add("--batch-size", type=counter, default=200, metavar="B", help="sgd: rows of a step")
    add("--momentum", type=below_one, default=0.9, metavar="M", help="sgd: share of the last step in the next one")
    add("--early-stopping", action="store_true", help="lbfgs: leave out weaker penalties once the score has fallen twice in a row")
    _model_options(parser)
    add("--tol", type=finite, default=1e-4, metavar="G", help="lbfgs: done when no entry of the gradient is larger, on the scaled features")
    add("--max-iter", type=counter, default=500, metavar="N", help="lbfgs: iterations of each fit at most")
    _split_options(parser)
    _memory_option(parser)
    add("--checkpoint", type=name, metavar="DIR", help="folder for the state of the sweep while it runs (default: that of the results)")
    add("--resume", action="store_true", help="go on from the state that a stopped or killed sweep has left")
    _output_options(parser)


def _model_options(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("--no-intercept", action="store_true", help="no constant term per class")
    add("--class-weight", choices=["balanced"], help="balanced: every class counts the same in sum (default: every row)")
    add("--label-smoothing", type=share, default=0.0, metavar="E", help="part of each label spread over all classes, from 0 to 1")
    add("--temperature", type=finite, default=1.0, metavar="T", help="the scores are divided by T")
    add("--scale", type=scale, default="auto", metavar="S", help="features count as divided by S; auto: 255 for 8-bit images, else 1")


def _memory_option(parser: argparse.ArgumentParser) -> None:
    words = "leave the rows on disk and hold at most SIZE of them, as 512MiB, 2GB (default: load all)"
    _option(parser, "--memory-limit", metavar="SIZE", help=words)


def _output_options(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("--out", type=name, metavar="DIR", help="folder for the results (default: softgrad-NAME here, NAME being that of the data set)")
    add("--no-pictures", action="store_true", help="numbers only")
    _json(parser)
    add("--quiet", action="store_true", help="no progress and no file names on stderr")


def _split_options(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("--label", type=column, metavar="NAME", help="label column of a table, or its number from 0 (default: label, class, ..., last)")
    add("--test-size", type=inner_share, default=0.2, metavar="P", help="part of the rows held out, where the set has no test split")
    add("--seed", type=natural, default=0, metavar="K", help="seed of that split")


def _apply_options(parser: argparse.ArgumentParser, split: str) -> None:
    add = partial(_option, parser)
    add("model", type=name, metavar="MODEL", help="model.safetensors, or the folder that holds it")
    add("source", type=name, metavar="SOURCE", help=SOURCE)
    add("--split", choices=["test", "train", "all"], default=split, help="which rows; train and test are told apart as in the fit")
    add("--label", type=column, metavar="NAME", help="label column of a table, or its number (default: as in the fit)")
    _memory_option(parser)
    _json(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    _apply_options(parser, "all")
    parser.add_argument("--unlabelled", action="store_true", help="SOURCE has rows only: .npy, or .csv with features in all columns")
    parser.add_argument("--proba", action="store_true", help="probabilities of all classes, separated by tabs, below a line of names")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _apply_options(parser, "test")


def _explain(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("--scores", type=numbers, required=True, metavar="Z,Z,...", help="one score for each class")
    add("--label", type=label, required=True, metavar="Y", help="the true class, from 0 on; or one number for each class")
    add("--temperature", type=finite, default=1.0, metavar="T", help="the scores are divided by T")
    words = "a loss by name, with its numbers: arcface, or focal:gamma=2; or its parts: smoothed:0.1 temperature:2 (default: cross-entropy)"
    add("--loss", nargs="+", default=(), metavar="NAME", help=words)
    _json(parser)


def _bench(parser: argparse.ArgumentParser) -> None:
    add = partial(_option, parser)
    add("--rows", type=counter, default=5000, metavar="N", help="rows of 3073 features and 10 classes")
    add("--repeat", type=counter, default=3, metavar="R", help="runs of which the median counts; the loops run once")
    _json(parser)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")


class _Version(argparse.Action):
    """--version, which looks the version up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from softgrad import __version__

        sys.stdout.write(f"softgrad {__version__}\n")
        parser.exit()


def _number(text: str, rule: str, holds: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not holds(value):  # NaN holds nothing
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def name(text: str) -> str:
    """What a file or folder may be called."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be a name, got {text!r}")
    return text


def positive(text: str) -> float:
    """A number above 0, infinity included."""
    return _number(text, "a number above 0", lambda value: value > 0)


def finite(text: str) -> float:
    """A finite number above 0."""
    return _number(text, "a finite number above 0", lambda value: 0 < value < math.inf)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def below_one(text: str) -> float:
    """A number from 0 on, below 1."""
    return _number(text, "a number from 0 on, below 1", lambda value: 0 <= value < 1)


def inner_share(text: str) -> float:
    """A number between 0 and 1, ends excluded."""
    return _number(text, "a number between 0 and 1", lambda value: 0 < value < 1)


def scale(text: str) -> float | str:
    """`auto`, or a finite number above 0."""
    return text if text == "auto" else _number(text, "auto or a finite number above 0", lambda value: 0 < value < math.inf)


def scorer(text: str) -> str:
    """The name of a scorer, which scikit-learn is asked for."""
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if text not in names:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}; got {text!r}")
    return text


def natural(text: str, least: int = 0) -> int:
    """A whole number from `least` on."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
    return value


def counter(text: str) -> int:
    """A whole number from 1 on."""
    return natural(text, least=1)


def folds(text: str) -> int:
    """A whole number from 2 on."""
    return natural(text, least=2)


def finites(text: str) -> list[float]:
    """Finite numbers above 0 with commas between them, ascending, each once."""
    return sorted({finite(part) for part in text.split(",")})


def numbers(text: str) -> list[float]:
    """Numbers with commas between them; -inf, for what is not possible, is one."""
    return [_number(part, "numbers with commas between them", lambda value: not math.isnan(value)) for part in text.split(",")]


def label(text: str) -> int | list[float]:
    """A class number, or numbers with commas between them."""
    return natural(text) if "," not in text else numbers(text)


def column(text: str) -> str | int:
    """A column of a table: its number when the text is one, else its name."""
    return int(text) if text.isdecimal() else text
