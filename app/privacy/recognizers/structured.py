"""Values with a shape of their own: mail addresses, cards, accounts, network addresses, web addresses, wallets.

The mail rule is ours on purpose: Presidio's fetches a suffix list from the internet and refuses internal domains.
"""

import ipaddress
import re

from app.privacy.recognizers.checksums import is_address_v4, is_card
from app.privacy.recognizers.rules import Rule, count_digits, only_digits

INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
"""Soft hyphens, zero-width and bidi marks: allowed inside a value, because writing them there must not hide it from us."""


def _is_address_v6(value: str) -> bool:
    try:
        return ipaddress.ip_address(value.split("%", 1)[0]).version == 6
    except ValueError:
        return False


def _has_card_length(value: str) -> bool:
    return 12 <= len(only_digits(value)) <= 19


def _is_handle(value: str) -> bool:
    """A name somebody logs in with, not the next word of a sentence."""
    return any(character.isdigit() or character in "._-" for character in value) and any(character.isalpha() for character in value)


LOCAL_PART = rf"[\w.+%'\-{INVISIBLE}]{{1,80}}+"
DOMAIN = rf"(?:[^\W_][\w\-{INVISIBLE}]{{0,62}}+\.){{1,8}}[^\W\d_][\w\-{INVISIBLE}]{{1,23}}+"

MAIL = (
    Rule("EMAIL_ADDRESS", re.compile(rf"(?<![\w.+%\-]){LOCAL_PART}@{DOMAIN}(?![\w@])"), 0.95, needs=("@",)),
    Rule("EMAIL_ADDRESS", re.compile(rf"(?<![\w.+%\-]){LOCAL_PART}@(?:localhost|[^\W\d_][\w\-]{{1,40}}+)(?![\w@.])"), 0.6, needs=("@",)),
    Rule(
        "EMAIL_ADDRESS",
        re.compile(
            r"(?<![\w.+%\-])[\w.+%\-]{1,64}+[ ]?(?:[\[({<][ ]?(?:at|@)[ ]?[\])}>]|[ ]at[ ])[ ]?"
            r"[\w\-]{1,63}+(?:[ ]?(?:[\[({<][ ]?(?:dot|punkt|point|\.)[ ]?[\])}>]|[ ]dot[ ])[ ]?[\w\-]{1,40}+|\.[a-z]{2,12}){1,4}",
            re.IGNORECASE,
        ),
        0.85,
        is_valid=lambda value: re.search(r"[\[({<]|\bdot\b", value, re.IGNORECASE) is not None,
        needs=("at]", "at)", "at ]", "at )", "[@", "(@", " at ", "at}", "at>"),
    ),
)

CARD_WORDS = r"(?:card|carte|karte|tarjeta|visa|mastercard|amex|american express|maestro|discover|carta|kreditkarte|cc)"
CARDS = (
    Rule("CREDIT_CARD", re.compile(r"(?<![\w.])(?<!\d[ \-])(?:\d[ \-\u00a0]?){12,18}\d(?![\w])(?![ \-]\d)"), 0.9, is_valid=is_card),
    Rule("CREDIT_CARD", re.compile(r"(?<![\w.])(?:\d[ \-\u00a0]?){12,18}\d(?![\w])"), 0.85, is_valid=is_card),
    Rule(
        "CREDIT_CARD",
        re.compile(rf"\b{CARD_WORDS}\b[^\d\n]{{0,25}}((?:\d[ \-\u00a0]?){{11,18}}\d)(?!\w)", re.IGNORECASE),
        0.85,
        group=1,
        is_valid=_has_card_length,
    ),
)

ACCOUNT_WORDS = (
    r"(?:(?:bank[ ]?)?account|acct\.?|a/c|routing|aba|sort[ ]code|konto(?:nummer)?|kto\.?|blz|bankleitzahl|compte|rib|cuenta|conto|clabe"
    r"|bsb)"
)
ACCOUNTS = (
    Rule(
        "IBAN_CODE",
        re.compile(
            r"\bIBAN\b[^\w\n]{0,4}(?:is[ ]|no\.?[ ]|:)?[ ]?([A-Z]{2}[ ]?\d{2}(?:[ \-]?(?=[A-Z]{0,4}\d|[A-Z]{4}[ ]\d)[A-Z0-9]{1,4}){3,9})"
            r"(?!\w)",
            re.IGNORECASE,
        ),
        0.9,
        group=1,
        is_valid=lambda value: count_digits(value) >= 8,
        needs=("iban",),
    ),
    Rule(
        "BANK_ACCOUNT",
        re.compile(
            rf"\b{ACCOUNT_WORDS}(?:[ ](?:no|nr|number|num|nummer|code|id))?\b\.?[ ]?(?:#|:|=|is|was|\||-)?[ ]{{0,3}}((?:\d[ \-]?)"
            rf"{{5,19}}\d)(?!\w)",
            re.IGNORECASE,
        ),
        0.7,
        group=1,
    ),
    Rule(
        "BANK_ACCOUNT",
        re.compile(
            r"\b(?:(?:bank[ ])?account[ ]?(?:no\.?|number|num|nr\.?|#)|acc(?:t|num)?|kontonummer)\.?[ ]?(?:#|:|=|is|was)?[ ]{0,3}['\"]"
            r"?([A-Z0-9]{6,34})(?!\w)",
            re.IGNORECASE,
        ),
        0.7,
        group=1,
        is_valid=lambda value: count_digits(value) >= 5,
        needs=("acc", "konto"),
    ),
    Rule(
        "USERNAME",
        re.compile(
            r"\b(?:user[ _]?name|login(?:[ _]?(?:name|id))?|user[ _]?id|benutzername|identifiant|usuario)\b['\"]?[ ]{0,2}(?::|=|is|was"
            r"|ist|\|)[ ]{0,3}['\"]?"
            r"([\w.\-]{3,40})(?![\w@])",
            re.IGNORECASE,
        ),
        0.6,
        group=1,
        is_valid=_is_handle,
        needs=("user", "login", "benutzer", "identifiant", "usuario"),
    ),
    Rule(
        "BANK_ACCOUNT",
        re.compile(r"\b(?:BIC|SWIFT)\b(?:[ /-]?(?:BIC|code))?[ ]?[:#=]?[ ]{0,3}([A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)(?!\w)"),
        0.7,
        group=1,
    ),
)

NETWORK = (
    Rule("IP_ADDRESS", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"), 0.7, is_valid=is_address_v4),
    Rule(
        "IP_ADDRESS",
        re.compile(r"(?<![\w:.])(?:[0-9A-F]{0,4}:){2,7}(?:[0-9A-F]{1,4}|\d{1,3}(?:\.\d{1,3}){3})?(?:%\w{1,12})?(?![\w:])", re.IGNORECASE),
        0.8,
        is_valid=lambda value: _is_address_v6(value) and len(value) > 3,
        needs=(":",),
    ),
    Rule("MAC_ADDRESS", re.compile(r"(?<![\w:\-])[0-9A-F]{2}(?:([:\-])[0-9A-F]{2})(?:\1[0-9A-F]{2}){4}(?![\w:\-])", re.IGNORECASE), 0.9),
)

WEB = (
    Rule(
        "URL",
        re.compile(
            r"\b(?:https?|ftps?|sftp|ssh|wss?|ldaps?|jdbc:[a-z]{2,20}|postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp)://[^\s<>\"'"
            r"|\\^`{}]{3,2000}+",
            re.IGNORECASE,
        ),
        0.8,
        needs=("://",),
    ),
    Rule(
        "URL",
        re.compile(r"(?<![\w@.\-/])www\.[\w\-]{1,63}+(?:\.[\w\-]{1,63}+){1,5}(?:/[^\s<>\"'|]{0,500}+)?", re.IGNORECASE),
        0.8,
        needs=("www.",),
    ),
    Rule(
        "URL",
        re.compile(
            r"(?<![\w@.\-/])(?:[a-z0-9][a-z0-9\-]{1,62}+\.){1,4}(?:com|org|net|edu|gov|co\.uk|de|fr|eu|info|biz|us|ca|au|es|it|nl|ch|at"
            r"|be|pl|se|dk|fi|jp|in|br|cz|hu|pt|ie|ro|tk|me|tv)"
            r"(?![\w\-]|\.\w)(?:/[^\s<>\"'|]{0,500}+)?",
            re.IGNORECASE,
        ),
        0.6,
        needs=(".",),
    ),
)

WALLETS = (
    Rule(
        "CRYPTO",
        re.compile(r"(?<!\w)(?:bc1[ac-hj-np-z02-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{26,34}(?=\W|$))(?!\w)"),
        0.6,
        is_valid=lambda value: count_digits(value) >= 2 and any(c.isupper() for c in value) + value.startswith("bc1") > 0,
    ),
    Rule("CRYPTO", re.compile(r"(?<!\w)0x[0-9a-fA-F]{40}(?!\w)"), 0.7, needs=("0x",)),
)

STRUCTURED: tuple[Rule, ...] = (*MAIL, *CARDS, *ACCOUNTS, *NETWORK, *WEB, *WALLETS)
