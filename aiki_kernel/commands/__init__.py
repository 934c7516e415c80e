"""Every command once, one file a noun; the CLI and the magics are two faces of it."""
