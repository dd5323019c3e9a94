"""Room: who is asking. Verifies tokens of the configured issuer and turns their claims into a `Subject`."""
