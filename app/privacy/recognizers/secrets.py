"""Credentials: vendor key formats, tokens, private keys, and the value after "password", "token" or "PIN".

Nobody needs a secret out of a document to answer a question, so no profile ever shows one; a false alarm costs little here.
"""

import re
from collections.abc import Iterator

from app.privacy.recognizers.rules import Rule

VENDOR = (
    r"(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{50,255}|glpat-[\w\-]{20,255}|xox[abeprs]-[\w\-]{10,255}|xapp-[\w\-]{20,255}|"
    r"sk-(?:proj-|ant-|or-)?[\w\-]{20,255}|[rsp]k_(?:live|test)_\w{16,255}|whsec_\w{16,255}|AIza[\w\-]{35}|npm_\w{36}|hf_\w{30,255}"
    r"|dop_v1_\w{64}|"
    r"SG\.[\w\-]{20,255}\.[\w\-]{40,255}|pypi-[\w\-]{50,255}|ya29\.[\w\-]{20,255}|shpat_\w{32}|lin_api_\w{30,60}|hvs\.[\w\-]{20,255}|"
    r"sq0[a-z]{3}-[\w\-]{22,60}|key-[0-9a-f]{32}|AGE-SECRET-KEY-1[A-Z0-9]{58})"
)
WORDS = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|passwort|kennwort|mot[ ]de[ ]passe|contrase[ñn]a|wachtwoord|hasło|senha|"
    r"(?:client[_\-]?)?secret(?:[_\-]?(?:access[_\-]?)?key)?|api[_ \-]?(?:key|token)|access[_ \-]?(?:key|token)|auth[_ \-]?(?:key|token)"
    r"|private[_ \-]?key|"
    r"signing[_ \-]?key|encryption[_ \-]?key|bearer[_ \-]?token|refresh[_ \-]?token|token|credentials?|pw)"
)
PROSE = (
    r"(?:is|was|are|be|being|been|the|a|an|of|for|and|or|not|to|in|on|at|by|from|with|that|this|it|must|should|can|will|has|have"
    r"|required|needed|changed|expired|"
    r"reset|invalid|incorrect|wrong|correct|missing|empty|null|none|true|false|optional|stored|encrypted|hashed|protected|managers?"
    r"|policy|policies|"
    r"rules?|strength|field|fields|length|here|below|above|still|never|always|also|only|just|already|currently|now|then|than|ist|wird"
    r"|wurde|der|die|das|ein|eine|"
    r"nicht|und|oder|est|le|la|les|un|une|pas|str|string|string,|int|bool|your|my|our|their|his|her|its|you|we|they|valid|available|set"
    r"|unset|known|"
    r"disabled|enabled|ignored|sent|shared|given|lost|forgotten|entered|used|generated|rotated|revoked|based|authentication|auth)"
)


def _looks_chosen(value: str) -> bool:
    """What follows a mail address in a list of stolen logins: letters with digits or signs among them, no address, no number."""
    return re.search(r"[A-Za-z]", value) is not None and re.search(r"[\d!@#$%^&*?]", value) is not None and "@" not in value


PREFIXED = (
    Rule(
        "SECRET",
        re.compile(r"[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,5}[ ]{0,2}[/:|][ ]{0,2}([^\s,;\"'<>/|]{6,80})(?<![.!?])"),
        0.85,
        group=1,
        is_valid=_looks_chosen,
        needs=("@",),
    ),
    Rule("SECRET", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AGPA|AROA)[A-Z0-9]{16}(?![A-Za-z0-9])"), 0.99),
    Rule("SECRET", re.compile(rf"(?<![A-Za-z0-9]){VENDOR}(?![A-Za-z0-9])"), 0.99),
    Rule("SECRET", re.compile(r"(?<![\w\-])eyJ[\w\-]{8,4000}+\.\s?[\w\-]{8,4000}+(?:\.\s?[\w\-]{8,4000}+)?"), 0.99, needs=("eyj",)),
    Rule(
        "SECRET",
        re.compile(r"\b(?:Bearer|Basic|Token)[ ]+([\w.~+/\-]{12,2000}+={0,2})", re.IGNORECASE),
        0.9,
        group=1,
        is_valid=lambda v: re.search(r"\d|[a-z][A-Z]", v) is not None,
    ),
    Rule("SECRET", re.compile(r"://[^\s:/@]{0,80}+:([^\s@/]{3,200}+)(?=@)"), 0.95, group=1, needs=("://",)),
    Rule(
        "SECRET",
        re.compile(
            r"[?&](?:access_?token|token|api_?key|key|sig|signature|secret|password|pwd|code|auth)=([^\s&\"'<>#]{6,500}+)", re.IGNORECASE
        ),
        0.9,
        group=1,
        needs=("=",),
    ),
    Rule("SECRET", re.compile(r"\bhooks\.slack\.com/services/([\w/]{20,100}+)"), 0.95, group=1, needs=("hooks.slack",)),
    Rule(
        "SECRET",
        re.compile(r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=([\w+/%\-]{16,200}+={0,2})"),
        0.97,
        group=1,
        needs=("shared", "accountkey"),
    ),
)


def _is_secretive(value: str) -> bool:
    """Not a plain word: it holds a digit, a sign, or capitals inside."""
    return re.search(r"[\d!@#$%^&*?~+]|[a-z][A-Z]|[A-Za-z]_[A-Za-z]", value) is not None and re.search(r"\w", value) is not None


def _is_assigned(value: str) -> bool:
    """A literal, not a reference to one: `os.environ[...]`, `${VAULT_TOKEN}` and `get_token()` hold no secret."""
    return not re.match(
        r"\$\{|\$\(|\{\{|<|os\.|env\.|process\.|secrets?\.|vault|\*{3,}|x{4,}|\.{3,}|%\w|self\.|settings\.|config\.|None\b|null\b",
        value,
        re.IGNORECASE,
    ) and not value.endswith(("()", "("))


NAMED = (
    Rule(
        "SECRET",
        re.compile(
            rf"(?:\b|_){WORDS}\b['\"]?[ ]{{0,4}}(?::=|=>|[:=]{{1,2}})[ ]{{0,4}}(?P<quote>['\"`])([^'\"`\n]{{4,200}}+)(?P=quote)",
            re.IGNORECASE,
        ),
        0.9,
        group=2,
        is_valid=_is_assigned,
    ),
    Rule(
        "SECRET",
        re.compile(
            rf"(?:\b|_){WORDS}\b['\"]?[ ]{{0,4}}(?::=|=>|[:=]{{1,2}}|\|)[ ]{{0,4}}['\"`]?((?!{PROSE}\b(?![\-_!@#$%^&*\d]))[^\s'\"`,;<>|]"
            rf"{{4,300}}+)",
            re.IGNORECASE,
        ),
        0.85,
        group=1,
        is_valid=_is_assigned,
    ),
    Rule(
        "SECRET",
        re.compile(
            rf"\b{WORDS}[ ]{{1,3}}(?:is|was|ist|lautet|est|es|are|:|=)[ ]{{1,3}}(?:now[ ]|still[ ]|set[ ]to[ ])?['\"“„]"
            rf"?((?!{PROSE}\b(?![\-_!@#$%^&*\d]))[^\s'\"“”,;<>]{{4,200}}+)",
            re.IGNORECASE,
        ),
        0.85,
        group=1,
        is_valid=_is_assigned,
    ),
    Rule(
        "SECRET",
        re.compile(
            r"\b(?:password|passwort|kennwort|pwd|passphrase)[ ]{1,3}['\"“]?((?=[^\s]{0,80}[\d!@#$%^&*])[^\s'\"”,;]{5,80}+)", re.IGNORECASE
        ),
        0.7,
        group=1,
        is_valid=_is_secretive,
    ),
    Rule(
        "SECRET",
        re.compile(
            r"\b(?:password|passphrase|passwort|kennwort)\b[ ]{0,2}(?:is|:|=)?[ ]{0,2}((?:[a-z]{3,12}[ \-]){1,5}\d{1,6}[!?#*.]?)"
            r"(?=[\s\"',;]|$)",
            re.IGNORECASE,
        ),
        0.8,
        group=1,
    ),
    Rule(
        "SECRET",
        re.compile(
            r"\b(?:pin|cvv|cvc|cvv2|passcode|otp|tan)\b(?:[ ]?(?:code|number|no\.?|is|:|#|=|ist)){0,2}[ ]{0,3}(\d{3,8})(?![\w.,]\w|\w)",
            re.IGNORECASE,
        ),
        0.75,
        group=1,
    ),
)
SECRETS: tuple[Rule, ...] = (*PREFIXED, *NAMED)

KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
KEY_BODY = re.compile(r"(?:[A-Za-z0-9+/=\-:,. ]|\\n|\s)*+")
MAX_KEY = 16_000


def find_key_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Private keys in PEM or OpenPGP armour, over the whole document because a block may be longer than a segment.

    A block without its end line is hidden as far as its body goes: a truncated key is still most of a key.
    """
    reached = 0
    for match in KEY_BLOCK.finditer(text):
        if match.start() < reached:
            continue
        limit = min(len(text), match.end() + MAX_KEY)
        closing = KEY_END.search(text, match.end(), limit)
        body = KEY_BODY.match(text, match.end(), limit)
        reached = closing.end() if closing else body.end() if body else match.end()
        yield match.start(), reached
