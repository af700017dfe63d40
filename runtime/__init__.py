"""What happens around one run: command line, name, directory, checkpoints, loggers and signals.

Only programs import this package. It may import `callbacks`, `lightning_modules` and `records`.
"""
