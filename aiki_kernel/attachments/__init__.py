"""What a message carries besides its words: ``{df}``, ``{fig}``, ``{open:FILE}``.

- :mod:`~aiki_kernel.attachments.interpolation` -- which braces of a message mean something, pure
- :mod:`~aiki_kernel.attachments.composer` -- a typed message into what is sent
- :mod:`~aiki_kernel.attachments.table` -- any frame as a summary within a budget of tokens
- :mod:`~aiki_kernel.attachments.pictures` -- figures and images
- :mod:`~aiki_kernel.attachments.files` -- which files may be read, and as what

Nothing here imports pandas, polars or a plotting library: who has such an object has it imported.
"""
