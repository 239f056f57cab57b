"""The emulated world and the test runs. Forbidden here: decisions of the controller; the plant and the twins
never call the law, the law never knows that they exist.
"""
