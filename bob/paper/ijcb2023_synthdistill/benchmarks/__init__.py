"""The benchmarks: pair lists and folds, file layouts, the Bob database and the accuracy."""
