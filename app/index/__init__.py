"""Room: search. Engines behind the `PassageIndex` port; each takes a `ReadFilter` inside both of its lists and decides nothing itself."""
