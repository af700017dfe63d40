"""The engine of `sweep.py`: reads W&B sweep files, lists their trials and runs them without a server.

Imports `records` only.
"""
