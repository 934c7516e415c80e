"""Health: what is wrong, before the user meets it.

A small process samples the others and writes down what it finds. It may take 25 MB, so this room
imports the standard library alone, and the lighter parts of it: no dataclasses (they bring
``inspect``), no ``http`` (it brings ``email``), no pydantic, nothing of our own that needs them.
What is known of settings comes as a :class:`~aiki_kernel.health.plan.Plan`.
"""
