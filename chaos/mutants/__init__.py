"""Known bugs, as source patches: proof that the tests see them (ruling 37).

A mutant changes one place of the product while it is being imported, in a
process of its own. Product code has no switch for them. A patch that no longer
fits fails the zoo, so that it moves with the code.
"""
