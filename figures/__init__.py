"""Pictures and terminal tables that callbacks and programs share.

Imports matplotlib, `analysis` and `records`.
"""
