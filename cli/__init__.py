"""The composition root: the only place that reads the environment, owns the clock and builds adapters."""
