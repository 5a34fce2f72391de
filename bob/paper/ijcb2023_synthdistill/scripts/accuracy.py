"""Print the accuracy of a score file over the ten folds of its benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..benchmarks.verification import Verification


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("scores", type=click.Path(path_type=Path))
@click.option(
    "-d",
    "--database",
    required=True,
    metavar="DATABASE",
    help="The benchmark: lfw, calfw, cplfw, cfp-fp, agedb-30, or one of these after `toyfaces-`; "
    "or a Python file that defines `database`, as for `bob bio pipeline simple`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; rates are fractions.")
def accuracy(scores: Path, database: str, as_json: bool) -> None:
    """Print accuracy, EER and TAR at FAR of SCORES, a scores-dev.csv of Bob's.

    The accuracy is the mean over the ten folds of the benchmark, each decided by the threshold
    that is best on the other nine; its deviation is that of the folds.
    """
    import json

    from ..benchmarks.accuracy import summary
    from ..benchmarks.scores import read_scores

    benchmark = _open(database)
    result = {"database": benchmark.name, "scores": str(scores)}
    result |= summary(read_scores(scores, benchmark))
    click.echo(json.dumps(result, indent=2) if as_json else _text(result, benchmark.describe()))


def _open(database: str) -> "Verification":
    """Open a benchmark by name, quickly; or run the user's own configuration."""
    from ..benchmarks.benchmark import benchmarks
    from ..benchmarks.verification import Verification
    from ..files import SynthDistillError

    if database in benchmarks():
        return Verification(database)
    if not database.endswith(".py") or not Path(database).is_file():
        raise SynthDistillError(
            f"there is no benchmark `{database}`. Choose one of {', '.join(benchmarks())}, or name "
            "a Python file (*.py) that defines `database`."
        )
    from clapper.config import load

    found: Any = getattr(load([database], entry_point_group="bob.bio.config"), "database", None)
    if not hasattr(found, "pairs"):
        raise SynthDistillError(
            f"{database} defines no `database` with pairs and folds. Expected, for example: "
            "`database = PairDatabase('lfw', '/my/folder')`."
        )
    return found


def _text(result: dict[str, Any], found: str) -> str:
    rates = "\n".join(
        f"TAR at FAR {float(far):.2%}  "
        + (
            f"{tar:.2%}"
            if tar is not None
            else f"-  (needs {round(1 / float(far)):,} impostor pairs, there are "
            f"{result['impostors']:,})"
        )
        for far, tar in result["tar_at_far"].items()
    )
    folds = " ".join(f"{accuracy:.2%}" for accuracy in result["accuracy_per_fold"])
    return (
        f"{result['database']}: {found}\n"
        f"accuracy           {result['accuracy']:.2%} ± {result['accuracy_std']:.2%} "
        f"over {len(result['accuracy_per_fold'])} folds\n"
        f"each fold          {folds}\n"
        f"EER                {result['eer']:.2%}\n"
        f"{rates}"
    )
