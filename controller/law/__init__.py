"""Decide. Arrays in, arrays out: the process image is the only argument and the only result. Forbidden here:
wires, clocks, files, threads, randomness, logging and every other room of the house; time and random
numbers are handed in with the INPUT image.
"""
