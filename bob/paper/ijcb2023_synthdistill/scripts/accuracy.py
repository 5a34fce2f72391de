"""``synthdistill-accuracy``: the accuracy of one score file over the folds of its benchmark."""

from pathlib import Path
from typing import Any

import click

from . import PATH, command, database_option, json_option


@command()
@click.argument("scores", type=PATH)
@database_option(
    required=True,
    help="The benchmark: lfw, calfw, cplfw, cfp-fp, agedb-30, or one of these after `toyfaces-`; "
    "or pairs of your own: the pairs.csv, or a Python file that defines `database`, as for `bob "
    "bio pipeline simple`.",
)
@json_option(help="Print one JSON object; rates are fractions.")
def accuracy(scores: Path, database: str, as_json: bool) -> None:
    """Print accuracy, EER and TAR at FAR of SCORES, a scores-dev.csv of Bob's.

    The accuracy is the mean over the folds of the benchmark, each decided by the threshold that is
    best on the others; its deviation is that of the folds. Scores of another student, other pairs
    or other images than there are now are refused.
    """
    import json

    from ..benchmarks.accuracy import summary
    from ..benchmarks.scores import read_scores
    from ..evaluation.provenance import trace
    from ..evaluation.results import open_database
    from ..evaluation.terminal import exit_when_interrupted, say

    exit_when_interrupted()
    benchmark = open_database(database)
    table = read_scores(scores, benchmark)
    origin = trace(scores, scores.absolute().parent.parent, benchmark.fingerprint)
    result = {
        "database": benchmark.name,
        "scores": str(scores),
        "network": origin.network and [str(part) for part in origin.network],
        "recorded": origin.record is not None,
        **summary(table),
    }
    if origin.mark:
        click.echo(f"warning: {scores} is {origin.mark}", err=True)
    say(json.dumps(result, indent=2) if as_json else _text(result, benchmark.describe()))


def _text(result: dict[str, Any], found: str) -> str:
    folds = [f"{accuracy:.2%}" for accuracy in result["accuracy_per_fold"]]
    never = result["never_match"]
    lines = [
        f"{result['database']}: {found}",
        f"pairs              {result['genuine']:,} genuine, {result['impostors']:,} impostor"
        + (f"; {never:,} never match: one of their images cannot be used" if never else ""),
        f"accuracy           {result['accuracy']:.2%} ± {result['accuracy_std']:.2%} over "
        f"{len(folds)} folds",
        f"each fold          {' '.join(folds)}",
        f"EER                {result['eer']:.2%}",
    ]
    for far, tar in result["tar_at_far"].items():
        unknown = f"-  (needs {1 / float(far):,.0f} impostor pairs)"
        lines.append(f"TAR at FAR {float(far):.2%}  {unknown if tar is None else f'{tar:.2%}'}")
    return "\n".join(lines)
