"""Arrange the capacity tree so that every subtree, and every node's chargers, lie side by side.

Places are the nodes in preorder: a subtree is the range from its place to `tree_end`. `order` lists the chargers by the
place of their node, in argument order there. Made again only where the plan's tree has changed.
"""

from controller.law.kernel import Array, Stage


@Stage
def arrange(
    parent: Array,
    charger_node: Array,
    tree_parent: Array,
    tree_charger: Array,
    tree_node: Array,
    tree_place: Array,
    tree_up: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
) -> None:
    """Arrange the tree where `parent` or `charger_node` differ from those it was arranged for."""
    nodes, chargers = parent.shape[0], charger_node.shape[0]
    same = True
    for m in range(nodes):
        same = same and tree_parent[m] == parent[m]
    for i in range(chargers):
        same = same and tree_charger[i] == charger_node[i]
    if same:
        return
    for m in range(nodes):
        tree_parent[m] = parent[m]
        own_from[m] = 1  # for now: nodes in the subtree
        own_to[m] = 0  # and chargers at the node
    for m in range(nodes - 1, -1, -1):
        if parent[m] >= 0:
            own_from[parent[m]] += own_from[m]
    for i in range(chargers):
        tree_charger[i] = charger_node[i]
    free = 0
    for m in range(nodes):
        up = parent[m]
        if up < 0:
            place = free
            free += own_from[m]
        else:
            place = tree_up[up]  # for now: the next free place below a node
            tree_up[up] += own_from[m]
        tree_place[m] = place
        tree_node[place] = m
        tree_end[place] = place + own_from[m]
        tree_up[m] = place + 1
    for j in range(nodes):
        up = parent[tree_node[j]]
        tree_up[j] = tree_place[up] if up >= 0 else -1
        own_from[j], own_to[j] = 0, 0
    for i in range(chargers):
        own_to[tree_place[charger_node[i]]] += 1
    begin = 0
    for j in range(nodes):
        own_from[j] = begin
        begin += own_to[j]
        own_to[j] = own_from[j]
    for i in range(chargers):
        j = tree_place[charger_node[i]]
        order[own_to[j]] = i
        own_to[j] += 1
