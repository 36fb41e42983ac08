"""Every state in which a crash can leave a disk, recovered by the real code, held to a contract.

Simulation meets a crash state by luck. Here the file operations of a workload are
recorded, and after each of them *every* way in which the machine could stop there
is made: see ``states`` for the ways, ``suite`` for the workloads, ``log_contract``,
``machine_contract`` and ``spool_contract`` for what must hold.
"""
