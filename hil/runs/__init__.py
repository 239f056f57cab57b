"""What is done with a rig: scenario, uncontrolled twin, verdict, report, replay. Forbidden here: wiring
devices by hand (that is the rig's) and physics.
"""
