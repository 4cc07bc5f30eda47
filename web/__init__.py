"""The HTTP edge: parse, call one command or one read, answer. Nothing is decided here."""
