"""Finding and reading runs: ours, published curves, TensorBoard logs."""
