"""Arrange the capacity tree so that every subtree, and every node's chargers, lie side by side.

Places are the nodes in preorder: a subtree is the range from its place to `tree_end`. `order` lists the chargers by the
place of their node, in argument order there, `entry_of` those that use each phase (all of them in the column of the
watts). Made again only where the plan's tree has changed.
"""

from controller.law.kernel import Array, Stage, kernel

WATTS = 3


@Stage
def arrange(
    parent: Array,
    charger_node: Array,
    plan_kept: Array,
    can_switch: Array,
    live_map: Array,
    tree_parent: Array,
    tree_charger: Array,
    tree_map: Array,
    tree_plain: Array,
    tree_node: Array,
    tree_place: Array,
    tree_up: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    uses: Array,
    phase_count: Array,
    node_uses: Array,
) -> None:
    """Arrange the tree where parents, nodes or phases of the chargers differ from those it was arranged for."""
    if plan_kept[0] == 1 and can_switch[0] == 0:
        return
    differ = 0
    for m in range(parent.shape[0]):
        differ |= parent[m] ^ tree_parent[m]
    for i in range(charger_node.shape[0]):
        differ |= charger_node[i] ^ tree_charger[i]
        for t in range(3):
            differ |= live_map[i, t] ^ tree_map[i, t]
    if differ == 0:
        return
    for m in range(parent.shape[0]):  # loops: the compiler takes seconds for an assignment of whole arrays
        tree_parent[m] = parent[m]
    for i in range(charger_node.shape[0]):
        tree_charger[i] = charger_node[i]
        for t in range(3):
            tree_map[i, t] = live_map[i, t]
    preorder(parent, tree_node, tree_place, tree_up, tree_end, own_from)
    use_phases(parent, charger_node, live_map, uses, phase_count, node_uses, tree_plain)
    list_chargers(charger_node, tree_place, uses, own_from, own_to, order, entry_of, entry_from, entry_to)


@kernel
def preorder(parent: Array, tree_node: Array, tree_place: Array, tree_up: Array, tree_end: Array, size: Array) -> None:
    """Give every node its place: behind its parent, before its parent's next child."""
    nodes = parent.shape[0]
    for m in range(nodes):
        size[m] = 1
    for m in range(nodes - 1, -1, -1):
        if parent[m] >= 0:
            size[parent[m]] += size[m]
    free = 0
    for m in range(nodes):
        up = parent[m]
        if up < 0:
            place = free
            free += size[m]
        else:
            place = tree_up[up]  # for now: the next free place below a node
            tree_up[up] += size[m]
        tree_place[m] = place
        tree_node[place] = m
        tree_end[place] = place + size[m]
        tree_up[m] = place + 1
    for j in range(nodes):
        up = parent[tree_node[j]]
        tree_up[j] = tree_place[up] if up >= 0 else -1


@kernel
def use_phases(
    parent: Array,
    charger_node: Array,
    live_map: Array,
    uses: Array,
    phase_count: Array,
    node_uses: Array,
    tree_plain: Array,
) -> None:
    """Note which grid phases chargers, and nodes through them, use; and whether every charger uses any."""
    for m in range(parent.shape[0]):
        for p in range(3):
            node_uses[m, p] = 0
    tree_plain[0] = 1
    for i in range(charger_node.shape[0]):
        phase_count[i] = 0
        for p in range(3):
            uses[i, p] = 0
        for t in range(3):
            p = int(live_map[i, t])
            if p >= 0:
                uses[i, p] = 1
                node_uses[charger_node[i], p] = 1
        for p in range(3):
            phase_count[i] += uses[i, p]
        if phase_count[i] == 0:
            tree_plain[0] = 0
    for m in range(parent.shape[0] - 1, 0, -1):
        if parent[m] >= 0:
            for p in range(3):
                node_uses[parent[m], p] |= node_uses[m, p]


@kernel
def list_chargers(
    charger_node: Array,
    tree_place: Array,
    uses: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
) -> None:
    """List the chargers by place, and by column and place."""
    for j in range(own_to.shape[0]):
        own_to[j] = 0
    for i in range(charger_node.shape[0]):
        own_to[tree_place[charger_node[i]]] += 1
    begin = 0
    for j in range(own_to.shape[0]):
        own_from[j] = begin
        begin += own_to[j]
        own_to[j] = own_from[j]
    for i in range(charger_node.shape[0]):
        j = tree_place[charger_node[i]]
        order[own_to[j]] = i
        own_to[j] += 1
    for c in range(4):
        at = 0
        for j in range(own_to.shape[0]):
            entry_from[j, c] = at
            for k in range(own_from[j], own_to[j]):
                if c == WATTS or uses[order[k], c] == 1:
                    entry_of[c, at] = order[k]
                    at += 1
            entry_to[j, c] = at
