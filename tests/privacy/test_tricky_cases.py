"""The shapes people really write: each row is a text, what must be hidden in it (by type) and what must stay readable."""

import pytest

from app.privacy.detector import Detector
from app.privacy.rendering import render

HIDDEN: list[tuple[str, str, str]] = [
    # names
    ("please ask anna müller about it", "anna müller", "PERSON"),
    ("MÜLLER, Jürgen has signed", "MÜLLER, Jürgen", "PERSON"),
    ("The report by J. van der Berg is late", "van der Berg", "PERSON"),
    ("Marie-Claire O'Brien called twice", "Marie-Claire O'Brien", "PERSON"),
    ("We hired Nguyễn Long last year", "Nguyễn", "PERSON"),
    ("The contract is with Rose Long, not her firm", "Rose Long", "PERSON"),
    ("I spoke to Will yesterday and he agreed", "Will", "PERSON"),
    ("hi, its sanjay again, can u reset my login", "sanjay", "PERSON"),
    ("The draft is Schmidt's, written by Karl Schmidt", "Karl Schmidt", "PERSON"),
    ("Kind regards,\n\nSiobhán Hughes\n", "Siobhán Hughes", "PERSON"),
    ("Mit freundlichen Grüßen\nŁukasz Kowalski", "Łukasz Kowalski", "PERSON"),
    ("Der Antrag von Tuvo Petzold wurde bewilligt und die Unterlagen sind vollständig.", "Tuvo Petzold", "PERSON"),
    ("Le dossier de Kalvi Renholm est complet et nous vous remercions pour votre confiance.", "Kalvi Renholm", "PERSON"),
    ("please check if will papadopoulos can join", "papadopoulos", "PERSON"),
    ("Candidate Will, born 22.04.1987, was invited", "Will", "PERSON"),
    ("edward.kim@bytecore.com / W!nter2024", "W!nter2024", "SECRET"),
    ("account number SBIN012345678901", "SBIN012345678901", "BANK_ACCOUNT"),
    ("username: e_kim42", "e_kim42", "USERNAME"),
    ("Landerico B. Hidalgo\n\nLaboratory animal technician\n", "Laboratory animal technician", "TITLE"),
    ("Bonjour, je suis Björn Papadopoulos, merci", "Björn Papadopoulos", "PERSON"),
    ("Sehr geehrte Frau Dr. Weißenfels,\nwir danken Ihnen", "Weißenfels", "PERSON"),
    ('{"first_name": "Zsófia", "age": 3}', "Zsófia", "PERSON"),
    ("Anna Kowalski wrote it. Later Kowalski denied it.", "Kowalski denied", ""),
    # mail
    ("write to x@intranet.corp now", "x@intranet.corp", "EMAIL_ADDRESS"),
    ("mailto:anna.b+tag@Mail.ACME.co.uk.", "anna.b+tag@Mail.ACME.co.uk", "EMAIL_ADDRESS"),
    ("<ANNA@EXAMPLE.ORG>", "ANNA@EXAMPLE.ORG", "EMAIL_ADDRESS"),
    ("jörg@bücher.example", "jörg@bücher.example", "EMAIL_ADDRESS"),
    ("anna [at] example [dot] org", "anna [at] example [dot] org", "EMAIL_ADDRESS"),
    ("https://x.example/a?email=eve@corp.example&x=1", "eve@corp.example", "EMAIL_ADDRESS"),
    # phones
    ("Tel. 0171/1234567", "0171/1234567", "PHONE_NUMBER"),
    ("call (0)171 2345678", "171 2345678", "PHONE_NUMBER"),
    ("+49 (0)89 123-4567", "+49 (0)89 123-4567", "PHONE_NUMBER"),
    ("00 34 911 123 456", "00 34 911 123 456", "PHONE_NUMBER"),
    ("06 12 34 56 78", "06 12 34 56 78", "PHONE_NUMBER"),
    ("ring me on 555-0100", "555-0100", "PHONE_NUMBER"),
    ("415.555.2671 ext. 12", "415.555.2671 ext. 12", "PHONE_NUMBER"),
    ("06\u00a012\u00a034\u00a056\u00a078", "06\u00a012\u00a034\u00a056\u00a078", "PHONE_NUMBER"),
    ("+33\u202f1\u202f42\u202f68\u202f53\u202f00", "+33\u202f1\u202f42\u202f68\u202f53\u202f00", "PHONE_NUMBER"),
    ("my direct line 415-555-2671, so 555-0100 at night", "415-555-2671", "PHONE_NUMBER"),
    # accounts and cards
    ("order id 4111111111111111", "4111111111111111", "CREDIT_CARD"),
    ("IBAN DE89 3704 0044 0532 0130 00 is ours", "DE89 3704 0044 0532 0130 00", "IBAN_CODE"),
    ("gb82 west 1234 5698 7654 32 wurde", "gb82 west 1234 5698 7654 32", "IBAN_CODE"),
    ("DE89-3704-0044-0532-0130-00", "DE89-3704-0044-0532-0130-00", "IBAN_CODE"),
    ("IBAN: DE89 3704 0044\n0532 0130 00", "DE89 3704 0044\n0532 0130 00", "IBAN_CODE"),
    ("DE89370400440532013000,GB82WEST12345698765432", "GB82WEST12345698765432", "IBAN_CODE"),
    ("my IBAN is DE00 3704 0044 0532 0130 00", "DE00 3704 0044 0532 0130 00", "IBAN_CODE"),
    ("3782 822463 10005", "3782 822463 10005", "CREDIT_CARD"),
    ("4222222222222", "4222222222222", "CREDIT_CARD"),
    ("4111-1111-1111-1111", "4111-1111-1111-1111", "CREDIT_CARD"),
    ("card 1234 5678 9012 3456", "1234 5678 9012 3456", "CREDIT_CARD"),
    ("2221 0000 0000 0009", "2221 0000 0000 0009", "CREDIT_CARD"),
    # identity numbers
    ("NIR 1 84 12 2A 451 089 71", "1 84 12 2A 451 089 71", "ID_NUMBER"),
    ("DNI 12345678Z", "12345678Z", "ID_NUMBER"),
    ("X1234567L vive aquí", "X1234567L", "ID_NUMBER"),
    ("PESEL 44051401359", "44051401359", "ID_NUMBER"),
    ("AHV-Nr. 756.9217.0769.85", "756.9217.0769.85", "ID_NUMBER"),
    ("personnummer 850112+1234", "850112+1234", "ID_NUMBER"),
    ("NI number AB 12 34 56 C", "AB 12 34 56 C", "ID_NUMBER"),
    ("passport no. 123456789", "123456789", "ID_NUMBER"),
    ("SSN 123456789", "123456789", "ID_NUMBER"),
    ("application no. 18403/91", "18403/91", "ID_NUMBER"),
    ("Kundennummer: KD-1234-123", "KD-1234-123", "ID_NUMBER"),
    ("| Patient no. | Ward |\n|---|---|\n| 4711882 | 3b |", "4711882", "ID_NUMBER"),
    # secrets
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE", "SECRET"),
    ("token ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9, "SECRET"),
    ("password is hunter2", "hunter2", "SECRET"),
    ("DB_PASSWORD=p@ss12345678", "p@ss12345678", "SECRET"),
    ("password pass phrase 9!", "pass phrase 9!", "SECRET"),
    ("postgres://app:s3cr3tpw@db.internal/x", "s3cr3tpw", "SECRET"),
    ("Authorization: Bearer abcDEF123456789xyz", "abcDEF123456789xyz", "SECRET"),
    ("https://x.example/?token=abcdef123456", "abcdef123456", "SECRET"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA7", "SECRET"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ", "MIIEvQIBADANBgkqhkiG9w0BAQ", "SECRET"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.\ndozjgNryP4J3jVmNHl0w5N", "dozjgNryP4J3jVmNHl0w5N", "SECRET"),
    ("the pin is 4711", "4711", "SECRET"),
    # addresses
    ("lives at 12 Baker Street, Leeds LS1 3AB", "12 Baker Street, Leeds LS1 3AB", "ADDRESS"),
    ("Lindenstraße 67b, 10969 Berlin", "Lindenstraße 67b, 10969 Berlin", "ADDRESS"),
    ("demeurant 12 bis, rue de la Paix, 75002 Paris", "12 bis, rue de la Paix, 75002 Paris", "ADDRESS"),
    ("Calle Mayor 74, 3º izq., 28013 Madrid", "Calle Mayor 74", "ADDRESS"),
    ("PO Box 4411, Springfield, IL 62704", "PO Box 4411, Springfield", "ADDRESS"),
    ("PSC 6477, Box 2981\nAPO AE 83700", "PSC 6477, Box 2981\nAPO AE 83700", "ADDRESS"),
    ("she moved to Albert-Einstein-Straße 5", "Albert-Einstein-Straße 5", "ADDRESS"),
    ("12 Baker Street\nLeeds\nLS1 3AB", "12 Baker Street\nLeeds\nLS1 3AB", "ADDRESS"),
    # dates and ages
    ("born on 03/04/85", "03/04/85", "DATE_OF_BIRTH"),
    ("geboren am 12.03.1971", "12.03.1971", "DATE_OF_BIRTH"),
    ("né le 3 mars 1980 à Lyon", "3 mars 1980", "DATE_OF_BIRTH"),
    ("at 2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z", "DATE_TIME"),
    ("a 35-year-old man", "35", "AGE"),
    ("she turned 40", "40", "AGE"),
    # networks
    ("logged in from 203.0.113.7", "203.0.113.7", "IP_ADDRESS"),
    ("from 2001:db8::8a2e:370:7334 again", "2001:db8::8a2e:370:7334", "IP_ADDRESS"),
    ("MAC 00:1B:44:11:3A:B7", "00:1B:44:11:3A:B7", "MAC_ADDRESS"),
]
READABLE: list[str] = [
    "Mark the box, then bill the project.",
    "The long rose grows by the wall.",
    "We saw 8+ years of growth and 14 days of delay.",
    "The price is 1,240.50 at a pressure of aged 7 bar.",
    "Baker Street 5 % discount applies.",
    "the password is required",
    "Set `api_key = os.environ['API_KEY']` and restart.",
    "commit 3f2a9c1d77b0a1e2f3c4d5e6f7a8b9c0d1e2f3a4",
    "id 123e4567-e89b-12d3-a456-426614174000",
    "SHA-256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "See section 10.1.2.3 and table 4-2 of RFC 6962.",
    "CVE-2024-12345 is fixed in version 3.12.4 of the gateway.",
    "Invoice INV-2024-0001234 lists part no. 4711-0815-1234.",
    "ISBN 978-3-16-148410-0",
    "Python, Jenkins, Kafka and Airflow run in Docker.",
    "Die Maschine Typ 4410-B12 läuft mit 230 V; Rabatt 3,5 %.",
    "Le lot n° 2024-1234 contient 1 200 pièces; la norme NF EN 60204-1 s'applique.",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "Der Antrieb wird mit einer Spannung von 400 V betrieben; die Wartung erfolgt jährlich nach DIN EN 60204-1.",
    "Für die Montage der Pumpe Typ AX-200 werden vier Schrauben M8 und ein Drehmoment von 25 Nm benötigt.",
    "La pompe doit être arrêtée avant toute intervention; le couple de serrage est de 25 Nm pour les vis M8.",
    "Use `kubectl get pods -n kube-system` and check that CoreDNS and Istio are ready.",
    "Engineering 101 is a course; see Gate 7, Spring 3 and Monitoring 2.",
    "The job ran 00:12:31 on node rack-7/u12, exit code 0.",
    "function getUserName(userId) { return users[userId]; }",
    "",
]


@pytest.mark.parametrize(("text", "value", "entity_type"), HIDDEN)
def test_personal_data_is_found_whole(detector: Detector, text: str, value: str, entity_type: str) -> None:
    spans = detector.analyze(text).spans
    start = text.index(value)
    covered = {i for span in spans for i in range(span.start, span.end)}
    if not entity_type:
        name = value.split(maxsplit=1)[0]
        assert set(range(start, start + len(name))) <= covered
        return
    assert all(i in covered for i in range(start, start + len(value)) if text[i].isalnum()), spans
    assert entity_type in {span.entity_type for span in spans if span.start < start + len(value) and start < span.end}, spans
    assert value not in render(text, spans, frozenset()).text


@pytest.mark.parametrize("text", READABLE)
def test_ordinary_and_technical_text_stays_untouched(detector: Detector, text: str) -> None:
    assert [(text[span.start : span.end], span.entity_type) for span in detector.analyze(text).spans] == []


def test_a_place_is_told_apart_from_a_street_address(detector: Detector) -> None:
    text = "She works in Leeds and lives at 12 Baker Street, Leeds LS1 3AB."
    kinds = {text[span.start : span.end]: span.entity_type for span in detector.analyze(text).spans}
    assert kinds["Leeds"] == "LOCATION"
    assert "ADDRESS" in kinds.values()


def test_german_text_is_not_read_by_the_english_model(detector: Detector) -> None:
    """The English model takes every German noun for a name: it once hid a third of a machine manual."""
    text = "Die Lieferung der Ersatzteile erfolgt nach Prüfung der Rechnung durch die Buchhaltung. Der Vertrag läuft bis Ende des Jahres."
    analysis = detector.analyze(text)
    assert analysis.language == "de"
    assert analysis.spans == ()


def test_language_hint_yields_to_what_the_text_says(detector: Detector) -> None:
    """A wrong hint must not switch the model off: whoever uploads a document chooses its language field."""
    assert detector.analyze("I met Bartholomew at the office, and he was happy with the result.", "de").language == "en"


def test_a_tenants_own_words_are_not_names(model_folder: object, detector: Detector) -> None:
    text = "I spoke to Heppner about Athena."
    assert any(text[s.start : s.end] == "Heppner" for s in detector.analyze(text).spans)
    with_glossary = Detector(model_folder, frozenset({"Heppner"}))
    assert with_glossary.analyze(text).spans == ()
    assert with_glossary.digest != detector.digest
