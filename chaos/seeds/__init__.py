"""What was found by which seed, and how many seeds a state of the product has survived.

A seed means something only together with the code that draws from it: a changed
workload is another run under the old number. So both files name the code:

- ``found.txt``: for each bug the seed that found it, the commit at which that seed still
  shows it (``python -m chaos.seeds replay 1043`` runs it there), and the unit test
  that guards against it whatever seeds mean today.
- ``ledger.txt``: for each large run the trees of the product and of the simulator, the
  range of seeds, and what came of it. ``python -m chaos.seeds`` adds it up.
"""
