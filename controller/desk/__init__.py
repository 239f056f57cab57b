"""Look and order. A Textual process of its own that reads the window and posts to the mailbox, and may die
freely. Forbidden here: wires, the scan's memory except through the window, and any decision.
"""
