"""The entity types this gateway knows, and which of them identify a person by themselves.

Anything that is not listed here is treated as a direct identifier: hidden, masked and not searched.
"""

QUASI = frozenset({"LOCATION", "ORGANIZATION", "DATE_TIME", "AGE", "NRP", "TITLE", "URL"})
"""Says something about a person, names nobody: alone it stays in vectors."""
DIRECT = frozenset(
    {
        "PERSON",
        "EMAIL_ADDRESS",
        "PHONE_NUMBER",
        "ADDRESS",
        "DATE_OF_BIRTH",
        "ID_NUMBER",
        "USERNAME",
        "CREDIT_CARD",
        "IBAN_CODE",
        "BANK_ACCOUNT",
        "CRYPTO",
        "IP_ADDRESS",
        "MAC_ADDRESS",
        "SECRET",
    }
)
"""Names, reaches or pays one person, or opens a door."""
KNOWN = QUASI | DIRECT
NEVER_SHOWN = frozenset({"SECRET"})
"""No profile may show these to anybody: a credential in a document is an incident, not knowledge."""
