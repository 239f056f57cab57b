"""Data with its source, licence and units: feeders, households, sessions, vehicles, contracts and rigs, and
one loader a kind. Forbidden here: behaviour of any sort, wires and numbers without a source.
"""
