"""Refuses passwords that a guesser tries first: common words, walks over keys, the account's name.

A list of whole passwords would miss most of what people make of twelve characters; so what counts
is what is left of a password without the words, digits and signs that such lists are full of.
"""

import re
import unicodedata

from pydantic import SecretStr

from inspection.core.errors import ConfigError

LETTERS = 5  # different ones that must be left
NAME_LETTERS = 4  # an account's shorter name may stand in other words
LEET = str.maketrans("013457@$!|", "oieastasil")
# What lists of leaked passwords are full of, in English and German, and what lies near a line.
WORDS = """
    password passwort passwd passphrase kennwort passcode pass pwd login logon anmelden admin
    administrator root user username guest gast default standard changeme change temp temporary test
    testing demo example beispiel sample secret geheim private privat secure security sicher
    sicherheit access zugang letmein openup welcome willkommen hello hallo master superuser super
    system computer internet server service support office buero company firma work arbeit
    inspection inspector inspektion prüfung pruefung quality qualität qualitaet factory fabrik plant
    werk line linie station machine maschine camera kamera press presse dashboard hub viewer
    reviewer engineer operator production produktion
    qwertyuiop qwertzuiop asdfghjkl yxcvbnm zxcvbnm qwerty qwertz azerty asdfgh asdf zxcv yxcv qwer
    qwertz yxcv wert ert rty tzu uio iop poiu poiuy lkj lkjh mnb mnbvcx mnbvcxz zaq xsw cde qaywsx
    qaz wsx edc rfv tgb steuerung anlage control
    abcdefghijklmnopqrstuvwxyz abcdefgh abcdef abcd abc xyz
    iloveyou ichliebedich love liebe lover princess prinzessin sunshine sonnenschein sonne flower
    blume monkey affe dragon drache tiger lion eagle adler shadow schatten football fussball soccer
    baseball basketball hockey champion winner superman batman spiderman pokemon starwars matrix
    mustang ferrari porsche mercedes bmw audi volkswagen harley ranger hunter killer freedom
    freiheit whatever trustno nothing nichts jesus christ god gott angel engel summer sommer winter
    spring frühling autumn herbst monday tuesday wednesday thursday friday saturday sunday montag
    dienstag mittwoch donnerstag freitag samstag sonntag january february march april may june july
    august september october november december januar februar märz mai juni juli oktober dezember
    michael thomas andreas stefan peter daniel martin jessica jennifer ashley nicole anna sarah
    charlie george jordan robert william berlin hamburg muenchen münchen london germany deutschland
    america schatz mutter vater mama papa baby
    """


def require_strong(account: str, password: SecretStr) -> None:
    """Refuse a password that is guessed soon.

    Raises:
        ConfigError: it holds the account's name, or too little besides common words.
    """
    text = unicodedata.normalize("NFKC", password.get_secret_value()).casefold()
    name = account.partition("@")[0].casefold()
    if len(name) >= NAME_LETTERS and name in text:
        raise ConfigError(
            f"password of account '{account}': it holds the account's name, which is tried first; "
            "choose one without it"
        )
    words = sorted({*WORDS.split(), name}, key=len, reverse=True)
    plain = re.sub(r"[\W\d_]", "", text)  # "1q2w3e" is "qwe"
    forms = (text, plain, text.translate(LEET), plain[::-1])
    if min(_left(form, words) for form in forms) < LETTERS:
        raise ConfigError(
            f"password of account '{account}': it is guessed soon; wanted at least {LETTERS} "
            "different letters besides common words, digits and signs; take a few words that do "
            "not belong together"
        )


def _left(text: str, words: list[str]) -> int:
    """Count the different letters outside the words."""
    for word in words:
        text = text.replace(word, " ") if word else text
    return len(set(re.sub(r"[\W\d_]", "", text)))
