"""Every shape that crosses a boundary; no I/O."""
