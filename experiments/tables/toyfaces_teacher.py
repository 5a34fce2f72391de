"""Bob pipeline of ToyFaces' teacher, the row "teacher" of the miniature tables."""

from bob.paper.ijcb2023_synthdistill import toyfaces
from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import teacher_pipeline

pipeline = teacher_pipeline(toyfaces.TEACHER)
