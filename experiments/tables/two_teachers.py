"""ToyFaces' teacher and another one, of the same recipe and another seed: behind `toyfaces`."""

from bob.paper.ijcb2023_synthdistill.toyfaces import TEACHER
from bob.paper.ijcb2023_synthdistill.toyfaces.benchmarks import cache_folder

teacher = [TEACHER, cache_folder() / "seed-2" / TEACHER.name]
