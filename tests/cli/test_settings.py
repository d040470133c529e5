"""Settings from files and words: secrets, booleans, lists, and what is never shown."""

from pathlib import Path

import pytest

from aiki.configuration import load, shown
from aiki.errors import ConfigurationError
from aiki.redaction import without_password
from tests.cli.conftest import Call

SECRET = "swordfish-3f1c"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_may_hold_a_value(place: Path, ending: str) -> None:
    (place / "token").write_bytes(f"{SECRET}{ending}".encode())
    loaded = load({}, {"AIKI_TOKEN_FILE": "token"})
    assert loaded.settings.token == (SECRET,)
    assert loaded.sources["token"] == "AIKI_TOKEN_FILE (token)"
    (place / "aiki.toml").write_text('token_file = "token"\nlease_ms_file = "lease"\n')
    (place / "lease").write_text("2000\n")
    settings = load({}, {}).settings
    assert (settings.token, settings.lease_ms) == ((SECRET,), 2_000)


def test_one_line_for_each_token(place: Path) -> None:
    (place / "token").write_text("new\nold\n")
    settings = load({}, {"AIKI_TOKEN_FILE": "token"}).settings
    assert settings.token == ("new", "old")
    assert settings.client_token == "new"


def test_the_environment_wins_over_the_file_that_the_file_names(place: Path) -> None:
    (place / "token").write_text("of the file")
    (place / "aiki.toml").write_text('token_file = "token"\n')
    assert load({}, {"AIKI_TOKEN": "variable"}).settings.token == ("variable",)


@pytest.mark.parametrize(
    ("prepare", "environment", "message"),
    [
        ({"token": SECRET}, {"AIKI_TOKEN": SECRET, "AIKI_TOKEN_FILE": "token"}, "both given"),
        ({}, {"AIKI_TOKEN_FILE": "token"}, "No such file"),
        ({"token": ""}, {"AIKI_TOKEN_FILE": "token"}, "token is empty"),
        ({"token": "\n"}, {"AIKI_TOKEN_FILE": "token"}, "token is empty"),
        ({}, {"AIKI_TOKEN_FILE": "."}, "cannot be read"),
        ({}, {"AIKI_TOKEN_FILE": ""}, "path of a file"),
        ({"token": SECRET}, {"AIKI_TOKN_FILE": "token"}, "did you mean AIKI_TOKEN_FILE?"),
        ({"aiki.toml": 'tokn_file = "token"'}, {}, "did you mean 'token_file'"),
        ({"aiki.toml": f'token = "{SECRET}"\ntoken_file = "a"'}, {}, "token and token_file"),
        ({"token": f"{SECRET}\x01"}, {"AIKI_TOKEN_FILE": "token"}, "printable ASCII"),
        ({"aiki.toml": 'migrate = "perhaps"'}, {}, "one of yes, no"),
        ({}, {"AIKI_PORT": "70000"}, "<= 65535"),
    ],
)
def test_a_mistake_is_named_and_no_secret_is_shown(
    place: Path, prepare: dict[str, str], environment: dict[str, str], message: str
) -> None:
    for name, text in prepare.items():
        (place / name).write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load({}, environment)
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("word", ["yes", "true", "on", "1", "YES"])
@pytest.mark.parametrize(("wrong", "right"), [(False, True), (True, False)])
def test_words_for_booleans(place: Path, word: str, wrong: bool, right: bool) -> None:
    opposite = {"yes": "no", "true": "false", "on": "off", "1": "0", "YES": "NO"}
    chosen = word if right else opposite[word]
    assert load({}, {"AIKI_MIGRATE": chosen}).settings.migrate is right
    (place / "aiki.toml").write_text(f"migrate = {str(right).lower()}\n")
    assert load({}, {}).settings.migrate is right


def test_lists_take_commas_or_an_array(place: Path) -> None:
    assert load({}, {"AIKI_SHARDS": "eu, us"}).settings.shards == ("eu", "us")
    (place / "aiki.toml").write_text('shards = ["eu", "us"]\n')
    assert load({}, {}).settings.shards == ("eu", "us")
    assert load({}, {"AIKI_SHARDS": "none"}).settings.shards == ()


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("postgresql://aiki:p@host/db", "postgresql://aiki:***@host/db"),
        ("postgresql://aiki:p/a@s:s@host/db", "postgresql://aiki:***@host/db"),
        ("mysql://host/db?user=a&password=p", "mysql://host/db?user=a&password=***"),
        ("postgresql://host/db?sslpassword=p#x", "postgresql://host/db?sslpassword=***#x"),
        ("http://a:8080,b:8080", "http://a:8080,b:8080"),
        ("postgresql://aiki@host/db", "postgresql://aiki@host/db"),
        ("sqlite:////home/a@b/aiki.db", "sqlite:////home/a@b/aiki.db"),
    ],
)
def test_urls_are_shown_without_passwords(url: str, redacted: str) -> None:
    assert without_password(url) == redacted


def test_no_answer_shows_a_secret(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIKI_TOKEN", SECRET)
    monkeypatch.setenv("AIKI_URL", f"postgresql://aiki:{SECRET}@localhost/aiki")
    for form in ([], ["--json"]):
        answer = call("config", "show", *form)
        assert "***" in answer.out
        assert SECRET not in answer.out + answer.err
    assert SECRET not in repr(load({}, {"AIKI_TOKEN": SECRET}).settings)
    assert shown("token", ()) == "none"
