"""Flow: governance. Policy activation, explanation, the audit trail, document life cycle, personal data."""
