"""Every wire to the real world, client side, and the catalog of device models as data. Forbidden here:
decisions, emulation, and any name of the plant; a vendor's words and units stop at this border.
"""
