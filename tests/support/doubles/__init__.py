"""Providers that pay nobody: stateful, on the loopback, as strict as the real ones."""
