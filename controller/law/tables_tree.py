"""Declare the fields of the arranged capacity tree and of the levels in it (`tree`, `fill`), for `tables`."""

from controller.law.field import Field

STATE: tuple[Field, ...] = (
    # where the search for the level of a node begins: its level in the last scan
    Field("fill_level", "f8", "MQ", "A", 0, "level at a place in the split"),
    Field("pay_level", "f8", "MQ", "A", 0, "level at a place when raises were paid"),
    # the tree in preorder, made again when the plan's tree changes
    Field("tree_parent", "i4", "M", "1", -2, "parent that it was arranged for"),
    Field("tree_charger", "i4", "N", "1", -2, "charger_node that it was arranged for"),
    Field("tree_map", "i1", "NP", "1", -2, "phase_map that it was arranged for"),
    Field("tree_plain", "u1", "1", "1", 0, "1 where every charger uses a phase"),
    Field("tree_node", "i4", "M", "1", 0, "node at a place"),
    Field("tree_place", "i4", "M", "1", 0, "place of a node"),
    Field("tree_up", "i4", "M", "1", -1, "place above a place"),
    Field("tree_end", "i4", "M", "1", 0, "end of the subtree at a place"),
    Field("own_from", "i4", "M", "1", 0, "first charger of a place in order"),
    Field("own_to", "i4", "M", "1", 0, "end of the chargers of a place in order"),
    Field("order", "i4", "N", "1", 0, "chargers by place"),
    Field("entry_of", "i4", "QN", "1", 0, "chargers that use a phase, by place; all of them for the watts"),
    Field("entry_from", "i4", "MQ", "1", 0, "first of a place in entry_of"),
    Field("entry_to", "i4", "MQ", "1", 0, "end of a place in entry_of"),
    Field("phase_count", "u1", "N", "1", 0, "number of grid phases that the charger uses"),
    # those who ask for a raise, listed the same way in every scan
    Field("ask_from", "i4", "M", "1", 0, "scratch per place: first of those who ask in ask_order"),
    Field("ask_to", "i4", "M", "1", 0, "scratch per place: end of them"),
    Field("ask_order", "i4", "N", "1", 0, "scratch: who asks, by place"),
    Field("ask_of", "i4", "QN", "1", 0, "scratch: positions in ask_order, by phase and place"),
    Field("ask_weight", "f8", "N", "1", 1, "scratch by position there: weight in the fair share"),
    Field("ask_volts", "f8", "N", "V", 0, "scratch by position there: sum of the volts on its phases"),
    Field("ask_count", "u1", "N", "1", 0, "scratch by position there: number of grid phases that it uses"),
    Field("ask_uses", "u1", "NP", "1", 0, "scratch by position there: 1 where it is connected to the phase"),
    Field("ask_entry_from", "i4", "MQ", "1", 0, "scratch per place: first in ask_of"),
    Field("ask_entry_to", "i4", "MQ", "1", 0, "scratch per place: end in ask_of"),
)
