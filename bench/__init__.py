"""Benchmarks beside peers: `python -m bench read`, and every other module directly in this folder is a command too.

The top floor of the house: it may import everything, nothing imports it, and it is not shipped. See bench/README.md.
"""
