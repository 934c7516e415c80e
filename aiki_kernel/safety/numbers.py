"""Numbers that are secret by their own arithmetic: payment cards and Norwegian identity numbers.

A card is 13 to 19 digits, written together or in groups, that begin as issuers' ranges do
(ISO/IEC 7812) and pass Luhn's check. A *fødselsnummer* or D-number is 11 digits: a date, and
two digits that check the others (modulo 11). Of ten thousand numbers drawn at random some
three pass as one. Bank accounts and IBANs are left alone: they are made to be given away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CARD = "card number"
IDENTITY = "identity number"

_CANDIDATE = re.compile(
    r"(?<![\d.,/=_-])(?<![A-Za-z])"
    r"(?:\d{11}|\d{6} \d{5}|\d{13,19}"
    r"|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![\d_A-Za-z])(?![.,-]\d)"
)
_WEIGHTS = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))


def find_numbers(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each."""
    for match in _CANDIDATE.finditer(text):
        written = match[0]
        digits = re.sub(r"[ -]", "", written)
        if len(digits) == 11:
            if is_identity(digits):
                yield IDENTITY, match.start(), match.end()
        elif is_card(digits):
            yield CARD, match.start(), match.end()


def is_card(digits: str) -> bool:
    """Whether ``digits`` are a card's: an issuer's range and length, and Luhn's check."""
    return _issued(digits) and luhn(digits) and len(set(digits)) > 1


def luhn(digits: str) -> bool:
    """Luhn's check: every second digit from the right doubled, the sum a multiple of ten."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def _issued(digits: str) -> bool:
    size = len(digits)
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    return (
        (digits[0] == "4" and size in (13, 16, 19))  # Visa
        or (size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))  # Mastercard
        or (size == 15 and two in (34, 37))  # American Express
        or (size in (16, 19) and (four == 6011 or 644 <= three <= 649 or two == 65))  # Discover
        or (size == 16 and 3528 <= four <= 3589)  # JCB
        or (size == 14 and (300 <= three <= 305 or two in (36, 38, 39)))  # Diners Club
        or (16 <= size <= 19 and two == 62)  # UnionPay
        or (size == 16 and four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763))
    )


def is_identity(digits: str) -> bool:
    """Whether 11 ``digits`` are a fødselsnummer or a D-number: a date and two check digits."""
    day, month = int(digits[:2]), int(digits[2:4])
    if not 1 <= (day - 40 if day > 40 else day) <= 31 or not 1 <= month <= 12:
        return False
    numbers = [int(digit) for digit in digits]
    return all(
        sum(weight * number for weight, number in zip(weights, numbers, strict=False)) % 11 == 0
        for weights in _WEIGHTS
    )
