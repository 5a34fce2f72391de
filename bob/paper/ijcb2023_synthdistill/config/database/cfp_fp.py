"""CFP-FP, where `bob config set bob.bio.face.cfp_fp.directory FOLDER` says."""

from ...benchmarks.database import PairDatabase

database = PairDatabase("cfp-fp")
