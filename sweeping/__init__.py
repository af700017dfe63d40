"""The engine of `sweep.py`: it reads W&B sweep files and runs their trials without a server.

Imports `records` only.
"""
