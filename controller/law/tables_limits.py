"""Declare the fields of limits that are handed in (`doe`) and of groups of nodes (`anm`), for `tables`."""

from controller.law.field import INF, NAN, Field

INPUT: tuple[Field, ...] = (
    Field("doe_w", "f8", "M", "W", INF, "import limit handed in for the node, from 0; +inf none"),
    Field("doe_export_w", "f8", "M", "W", INF, "export limit handed in for the node, from 0; +inf none"),
    Field("doe_to_s", "f8", "M", "s", NAN, "UTC epoch time at which both are over; NaN until another comes"),
    Field("doe_ns", "i8", "M", "ns", 0, "monotonic time at which they were renewed; 0 never"),
    Field("group_w", "f8", "M", "W", INF, "limit of a group's imports handed in (a row a group): dimmed, called on"),
)

PLAN: tuple[Field, ...] = (
    # limits that are handed in and must be renewed
    Field("doe_max_age_s", "f8", "M", "s", INF, "lost when not renewed for so long; +inf: the node has none"),
    Field("doe_subscribed_w", "f8", "M", "W", INF, "import limit without one"),
    Field("doe_subscribed_export_w", "f8", "M", "W", INF, "export limit without one"),
    # groups: a row of `group_of` and `anm_` is a node, a row of the others is a group
    Field("group_of", "i4", "M", "1", -1, "number of the group that the node is a member of; -1 none"),
    Field("anm_stack", "i4", "M", "1", 0, "place of the member in the stack; the highest is curtailed first"),
    Field("anm_firm_w", "f8", "M", "W", 0, "what the member is served before the others get more"),
    Field("group_rule", "u1", "M", "1", 0, "names.Group: 0 cluster, 1 last in first out, 2 pro rata"),
    Field("group_limit_w", "f8", "M", "W", INF, "limit of the sum of imports"),
    Field("group_export_w", "f8", "M", "W", INF, "limit of the sum of exports, from 0"),
    Field("group_node", "i4", "M", "1", -1, "node whose room bounds the sum too; -1 none"),
    Field("group_whole", "u1", "M", "1", 0, "1: the limit is on whole connections, 0: on the stations alone"),
)

STATE: tuple[Field, ...] = (
    Field("doe_held_w", "f8", "M", "W", INF, "import limit last handed in"),
    Field("doe_held_export_w", "f8", "M", "W", INF, "export limit last handed in"),
    Field("doe_held_to_s", "f8", "M", "s", NAN, "UTC epoch time at which both are over"),
    Field("doe_held_ns", "i8", "M", "ns", 0, "monotonic time at which they were renewed; 0 never"),
    Field("group_member", "i4", "M", "1", -1, "scratch per node: member of a group at or above it"),
    Field("group_line", "i4", "M", "1", 0, "scratch: members in the order of service"),
    Field("group_want_w", "f8", "M", "W", 0, "scratch per member: what it could use"),
    Field("group_floor_w", "f8", "M", "W", 0, "scratch per member: the least that is of use there"),
    Field("group_held_w", "f8", "M", "W", 0, "scratch per member: what its chargers hold"),
    Field("group_lost_w", "f8", "M", "W", 0, "scratch per member: what those out of reach hold"),
    Field("group_share_w", "f8", "M", "W", 0, "scratch per member: its share"),
)
