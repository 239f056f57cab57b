"""The DSO congestion controller: law (decide), runtime (when) and desk (look and order). Forbidden here:
anything of hil, for the controller that passes on the bench is the one that runs in the field.
"""
