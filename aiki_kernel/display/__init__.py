"""What is shown under an answer: widget, static HTML and text, from one summary.

- :mod:`~aiki_kernel.display.card` -- :class:`AnswerCard`, live, with Stop (imports ipywidgets)
- :mod:`~aiki_kernel.display.static_card` -- ``render_html`` and ``render_text``, pure
- :mod:`~aiki_kernel.display.facts` -- the one reading of a summary that they share
- :mod:`~aiki_kernel.display.weight` -- ``compact``: a summary under 6 kB

A renderer opens a card with ``AnswerCard({}, on_stop=...)``, publishes ``card.bundle()``
under a display id, calls ``card.update(summary, state)`` as events come, and at the end
publishes ``card.final_bundle(summary)`` under the same id and closes the card.
"""
