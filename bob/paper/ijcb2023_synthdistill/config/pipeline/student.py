"""`synthdistill-student`: the student named by the key bob.paper.ijcb2023_synthdistill.student."""

from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import student_pipeline

# the key is looked up, and the file opened, when the first image is embedded
pipeline = student_pipeline()
