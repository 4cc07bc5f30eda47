"""The read side: read models that are fed from the log, can be dropped and rebuilt, and decide nothing."""
