"""Physics only: feeder, EVSE, EV, household, bench. Time is an argument. Forbidden here: sockets, clocks,
files, threads and randomness that was not handed in.
"""
