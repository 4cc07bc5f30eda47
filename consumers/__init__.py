"""The edge where facts arrive: the Faust app, order intake from Kafka, and the timers that run on one worker only."""
