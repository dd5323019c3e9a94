"""Flow: questions. Search and answer, history of answers; the order of duties is read top to bottom in each flow."""
