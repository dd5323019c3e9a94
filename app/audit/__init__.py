"""Room: the append-only log, its Merkle tree, signed checkpoints, proofs and receipts. It decides nothing about access."""
