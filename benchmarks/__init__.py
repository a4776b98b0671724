"""Measures avl_tf against the obvious alternatives: `make bench`.

run.py runs groups of rows (log_mel.py, ranks.py, reading.py, steps.py, export.py). A
group compares sides: programs in sides/, each in a process of its own, that take turns.
docs/performance.md explains the figures.
"""
