"""From runs of any source to one report: read, select, compute, draw, write.

Modules in that order; each imports only those before it, as ``pyproject.toml`` lists them.
"""
