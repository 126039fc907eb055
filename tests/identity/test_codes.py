"""The check characters of GB 32100, GB 11714 and GB 11643, against printed examples and every single change."""

from __future__ import annotations

import pytest

from app.identity.codes import (
    credit_check,
    credit_code_fault,
    division_code_fault,
    identity_number_fault,
    organisation_check,
)

CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
# Companies' codes as the public register shows them.
CREDIT_CODES = [
    "91110000600037341L",
    "91110108551385082Q",
    "91330100799655058B",
    "91440300708461136T",
]


@pytest.mark.parametrize("code", CREDIT_CODES)
def test_published_credit_codes_are_valid(code: str) -> None:
    assert credit_code_fault(code) is None


@pytest.mark.parametrize("code", CREDIT_CODES)
def test_every_changed_character_of_a_credit_code_is_noticed(code: str) -> None:
    for place, right in enumerate(code):
        for other in CREDIT_ALPHABET:
            if other != right:
                assert credit_code_fault(code[:place] + other + code[place + 1 :]) is not None


def test_the_inner_organisation_code_is_checked_too() -> None:
    body = "91110000" + "60003734" + "2"  # GB 11714 wants 1 here
    wrong = body + credit_check(body)
    fault = credit_code_fault(wrong)
    assert fault is not None and "GB 11714" in fault.en


def test_registration_departments_may_be_letters() -> None:
    body = "N1980100" + "YJ000001" + organisation_check("YJ000001")
    assert credit_code_fault(body + credit_check(body)) is None


def test_the_check_of_an_organisation_code_may_be_x() -> None:
    assert any(organisation_check(f"YJ{n:06}") == "X" for n in range(40))


@pytest.mark.parametrize(
    "code",
    [
        "",
        "9111000060003734",
        "91110000600037341l",
        "9111000060003734IL",
        "9111A000600037341L",
    ],
)
def test_malformed_credit_codes_are_refused(code: str) -> None:
    assert credit_code_fault(code) is not None


@pytest.mark.parametrize("code", ["100000", "110000", "110105", "429004", "980100"])
def test_division_codes_of_every_level_are_valid(code: str) -> None:
    assert division_code_fault(code) is None


@pytest.mark.parametrize("code", ["", "11010", "1101055", "010101", "11010a", "110005", "１１０１０５"])
def test_malformed_division_codes_are_refused(code: str) -> None:
    assert division_code_fault(code) is not None


# The two examples printed in the standard; the second shows the X.
IDENTITY_NUMBERS = ["11010519491231002X", "440524188001010014"]


@pytest.mark.parametrize("number", IDENTITY_NUMBERS)
def test_the_examples_of_the_standard_are_valid(number: str) -> None:
    assert identity_number_fault(number) is None


@pytest.mark.parametrize("number", IDENTITY_NUMBERS)
def test_every_changed_digit_of_an_identity_number_is_noticed(number: str) -> None:
    for place, right in enumerate(number):
        for other in "0123456789X":
            if other != right:
                assert identity_number_fault(number[:place] + other + number[place + 1 :]) is not None


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1101051949123100",
        "11010519491231002x",
        "110105194902300028",
        "１1010519491231002X",
    ],
)
def test_malformed_identity_numbers_are_refused(number: str) -> None:
    assert identity_number_fault(number) is not None
