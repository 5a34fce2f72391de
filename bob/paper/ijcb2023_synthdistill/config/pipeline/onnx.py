"""`synthdistill-onnx`: the exported student of the key bob.paper.ijcb2023_synthdistill.onnx."""

from bob.paper.ijcb2023_synthdistill.evaluation.pipeline import onnx_pipeline

# the key is looked up, and the file opened, when the first image is embedded
pipeline = onnx_pipeline()
