"""Damage to one replica of three, at every byte, and what the cluster makes of it.

One cluster works for a while and is switched off. Every case begins with a copy
of its disks, damages one byte, or cuts one file at one byte, starts the three
nodes again, and demands: nothing acknowledged is lost, no wrong byte is served,
no term has two leaders, new writes go through; the damaged replica is whole
again, or has stopped and said why. The simulator's invariants look on.
"""
