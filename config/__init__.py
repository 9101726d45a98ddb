"""What an operator writes: one YAML file, checked whole before anything connects. Imports transforms only.

The face of this package (see `config.load`, `config.edit`, `config.reload`).
"""
