"""Plain vocabulary shared by all floors: frozen values, no I/O, nothing that decides."""
