"""Chaos: a ledger at work while everything around it breaks, and a checker that reads what was seen outside of it.

`journal` is the log of effects, `checker` judges it, `jobs`, `worker`, `bare` and `producer` are the processes that work,
`wire` and `pooler` stand between them and the server, `faults` has one class per kind of fault, `storm` lets all of it loose.
`python -m tests.chaos` (make chaos) is the long run.
"""
