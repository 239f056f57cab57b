"""The DSO congestion controller: law (decide), runtime (when) and desk (look and order). Nothing in here may
import hil: the controller that passes on the bench is the one that runs in the field.
"""
