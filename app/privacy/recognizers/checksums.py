"""Check digits of cards, accounts and national numbers. Pure arithmetic; each names its source."""

import re

from app.privacy.recognizers.rules import only_digits

CARD_LENGTHS = frozenset({13, 14, 15, 16, 19})
DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def is_luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B over the digits of `value`; false for fewer than twelve."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) < 12 or len(set(digits)) == 1:
        return False
    doubled = (digit if i % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2) for i, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


def is_card(value: str) -> bool:
    """A payment card: Luhn holds, and length and first digit are those of a scheme in use."""
    digits = only_digits(value)
    return len(digits) in CARD_LENGTHS and digits[0] in "23456" and is_luhn(digits)


def is_iban(value: str) -> bool:
    """ISO 13616: 15 to 34 characters whose rearranged number leaves 1 modulo 97."""
    packed = re.sub(r"[\W_]", "", value).upper()
    if not 15 <= len(packed) <= 34 or not packed.isascii():
        return False
    return int("".join(str(int(character, 36)) for character in packed[4:] + packed[:4])) % 97 == 1


def is_dni(value: str) -> bool:
    """Spanish DNI or NIE: the letter is the number modulo 23 (Real Decreto 1553/2005)."""
    packed = re.sub(r"\W", "", value).upper()
    number = packed[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and packed[-1] == DNI_LETTERS[int(number) % 23]


def is_nir(value: str) -> bool:
    """French NIR: key = 97 - number modulo 97, with 2A read as 19 and 2B as 18 (INSEE)."""
    packed = re.sub(r"\W", "", value).upper().replace("2A", "19").replace("2B", "18")
    return len(packed) == 15 and packed.isdigit() and int(packed[13:]) == 97 - int(packed[:13]) % 97


def is_pesel(value: str) -> bool:
    """Polish PESEL: eleven digits, weights 1-3-7-9, and a month that stands in a calendar of 1800-2299."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) != 11 or not 1 <= (digits[2] * 10 + digits[3]) % 20 <= 12 or not 1 <= digits[4] * 10 + digits[5] <= 31:
        return False
    return sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True)) % 10 == 0


def is_ahv(value: str) -> bool:
    """Swiss AHV number: EAN-13 check digit over 756 and nine digits (BSV directive on the NAVS13)."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) != 13:
        return False
    return sum(digit * (3 if i % 2 else 1) for i, digit in enumerate(digits)) % 10 == 0


def is_bsn(value: str) -> bool:
    """Dutch BSN: the eleven test (Uitvoeringsregeling burgerservicenummer)."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) != 9:
        return False
    return sum(digit * weight for digit, weight in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True)) % 11 == 0


def is_german_tax_id(value: str) -> bool:
    """German Steuer-ID: ISO 7064 MOD 11,10 and no leading zero (BZSt)."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) != 11 or digits[0] == 0:
        return False
    product = 10
    for digit in digits[:10]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[10]


def is_us_ssn(value: str) -> bool:
    """US SSN areas, groups and serials that the SSA may issue (20 CFR 422.103), plus ITIN areas (9xx)."""
    digits = only_digits(value)
    if len(digits) != 9 or len(set(digits)) == 1:
        return False
    return digits[:3] not in {"000", "666"} and digits[3:5] != "00" and digits[5:] != "0000"


def is_nhs_number(value: str) -> bool:
    """NHS number: modulus 11 over ten digits (NHS Data Dictionary)."""
    digits = [int(character) for character in only_digits(value)]
    if len(digits) != 10:
        return False
    check = 11 - sum(digit * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True)) % 11
    return check % 11 == digits[9]


def is_address_v4(value: str) -> bool:
    """Four decimal octets, none above 255."""
    octets = value.split(".")
    return len(octets) == 4 and all(octet.isdigit() and int(octet) <= 255 for octet in octets)
