"""What is shown under an answer: widget, static HTML and text, from one summary."""
