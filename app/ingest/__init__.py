"""Flow: documents. Submit, parse, analyse, chunk, index and embed; every step may be repeated without harm."""
