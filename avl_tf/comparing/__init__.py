"""Several ways to train, held side by side: trainings as jobs, and tables of them.

trainings  what is to be trained, as plain values; no TensorFlow
running    the trainings that are not finished, some at once, on worker processes
worker     such a process
seeds      mean, spread and paired test of several seeds' ranks
table      the table of systems
curve      recall over what was trained on: chart, table, TensorBoard
"""
