"""`synthdistill-teacher`: the iresnet100 of the paper (bob.paper.ijcb2023_synthdistill.teacher)."""

from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import teacher_pipeline

# the key is looked up, and the file opened, when the first image is embedded
pipeline = teacher_pipeline()
