"""The Jupyter face: AikiKernel, cell classification, magics, the papermill translator."""
