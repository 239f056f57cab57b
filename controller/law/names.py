"""Name the codes that the images carry: reasons, control-pilot states, qualities, alarms and steps.

The desk, the report and the documents read these names; the law is the only one who decides them.
"""

from enum import IntEnum, IntFlag


class Reason(IntEnum):
    """Say which step bound a charger in this scan (OUTPUT ``reason``)."""

    WISH = 0  # nothing bound it: it gets what was asked for
    NO_CAR = 1  # control pilot A: no vehicle
    HARDWARE = 2  # ceiling of the EVSE, its cable or its phases
    CAR = 3  # what the car was seen to take
    OVERRIDE = 4  # an operator's order
    VOLTAGE = 5  # voltage droop
    WINDOW = 6  # a contract window
    ORDER = 7  # a DSO order in force
    ORDER_LOST = 8  # heartbeat of the DSO order lost: the node's fail-safe watts
    HEADROOM = 9  # capacity of a node
    ADMIT = 10  # paused, so that others keep their floor
    FLOOR = 11  # less than its floor is left: paused
    RESERVED = 12  # waits until another charger was seen to fall (break before make)
    QUANTISE = 13  # rounded down to the device's step
    BRAKE = 14  # emergency brake
    RAMP = 15  # ramp or random delay on the way up
    UNTRUSTED = 16  # its inputs are not believed: no raise
    LINK_LOST = 17  # its link is lost: it is counted with its fail-safe current
    HYSTERESIS = 18  # held back until the voltage has recovered by the hysteresis
    DWELL = 19  # minimum off time after a pause
    FREQUENCY = 20  # frequency response (FCR)
    SOC = 21  # the battery is at its floor: no export
    EXPORT = 22  # export capacity of a node, scaled back
    UNBALANCE = 23  # its phase would draw too much more than another
    SWITCH = 24  # at 0 A while it goes to another number of phases
    GROUP = 25  # share of a group's capacity (cluster, active network management)
    OVERRULED = 26  # it says that it applies more than was ordered: no raise


class Comfort(IntFlag):
    """Name the comfort rules that a pause breaks (OUTPUT ``broken``): limits, orders and the brake stand before."""

    NONE = 0
    NO_PAUSE = 1  # it was running and must not be paused: it may not resume
    ENERGY = 2  # energy that its driver was guaranteed is still needed
    GRACE = 4  # paused within the grace after plug-in
    MIN_ON = 8  # paused before its minimum on-time was over


class Cp(IntEnum):
    """Name the control-pilot states of IEC 61851-1 (Annex A), and UNKNOWN."""

    UNKNOWN = -1
    A = 0
    B = 1
    C = 2
    D = 3
    E = 4
    F = 5


class Quality(IntEnum):
    """Name the quality of a slot, as OPC UA does (Part 8, status code severity)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Trust(IntEnum):
    """Say what `trust` makes of an input."""

    BELIEVED = 0
    HELD = 1  # the last believed value plus the declared growth margin
    DESIGN = 2  # the declared design load (a node) or nothing at all (a charger)


class Alarm(IntFlag):
    """Name the bits of OUTPUT ``alarm`` (whole site) in this scan."""

    NONE = 0
    NODE_OVER = 1  # a believed node current is over its limit
    NODE_UNTRUSTED = 2
    CHARGER_UNTRUSTED = 4
    LINK_LOST = 8
    BRAKE = 16
    ORDER_LOST = 32
    VOLTAGE_LOW = 64
    CLOCK_STEP = 128  # the monotonic clock handed in went backwards or the UTC clock stepped
    CHARGER_OVER = 256  # a charger says that it applies more than was ordered: another master, or it ignores us


class Step(IntEnum):
    """Number the steps whose caps the OUTPUT ``chain`` keeps, in the law's order."""

    WISH = 0
    ENVELOPE = 1
    VOLTAGE = 2
    CONTRACT = 3
    SHARE = 4
    QUANTISE = 5
    BRAKE = 6
    RAMP = 7


class Fairness(IntEnum):
    """Say how a voltage droop treats chargers along a feeder (facts A6); the plan's builder turns it into fields."""

    LOCAL = 0  # everybody by his own volts: the end of the line gives way first
    COMMON = 1  # everybody by the lowest volts of his group (worst node broadcast)
    EQUALISED = 2  # own volts, the start shifted by the nominal drop


class Group(IntEnum):
    """Say how a group's capacity is cut into shares (PLAN ``group_rule``)."""

    CLUSTER = 0
    LIFO = 1
    PRO_RATA = 2


class VoltSource(IntEnum):
    """Say whose volts the droop of a charger reads."""

    OWN = 0  # the charger's own meter
    NODE = 1  # the meter of its connection (the charger resolves 1 V only)
    NONE = 2  # no droop
