"""Emulated devices as seen from their sockets: Modbus TCP, SCPI, OPC UA; same catalog as the instruments
that talk to them. Forbidden here: physics (the plant's) and anything of the controller.
"""
