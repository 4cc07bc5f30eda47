"""The write side: what happened, and what is decided from it."""
