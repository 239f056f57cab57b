"""Put together: the rig file, the one assembler, the plant process and the faults. Forbidden here: verdicts,
reports and any second way to wire a rig.
"""
