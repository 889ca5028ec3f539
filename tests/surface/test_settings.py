"""How the environment is read."""

from pathlib import Path

import pytest

from luma_mcp_server import sandbox
from luma_mcp_server.errors import SettingsError
from luma_mcp_server.settings import AGENTS_SANDBOX_KEY, AGENTS_URL, DREAM_MACHINE_URL, SANDBOX_KEY, VARIABLES, Settings

HOME = {"HOME": str(Path("/home/me").absolute())}


def read(**environ: str) -> Settings:
    return Settings.from_env(HOME | environ)


@pytest.mark.parametrize(
    "text", ["real-key", " real-key\n", '"real-key"', "'real-key'", "Bearer real-key", "Bearer 'real-key'"]
)
def test_a_key_loses_what_is_pasted_along_with_it(text: str) -> None:
    assert read(LUMA_API_KEY=text).api_key == "real-key"


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_key_is_a_missing_key(text: str) -> None:
    with pytest.raises(SettingsError, match="No Luma API key is set"):
        read(LUMA_API_KEY=text).require_key()


@pytest.mark.parametrize("text", ["$KEY", "your-key", "YOUR_API_KEY", "<key>", "xxx", "..."])
def test_a_placeholder_is_a_missing_key_and_its_variable_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"No Luma API key is set \(LUMA_API_KEY holds a placeholder, not a key\)"):
        read(LUMA_API_KEY=text).require_key()


@pytest.mark.parametrize("hosts", ["https://hooks.example.com", "hooks.example.com:8080", "*.example.com", "localhost"])
def test_a_callback_host_that_could_never_match_is_noticed(hosts: str) -> None:
    with pytest.raises(SettingsError, match="LUMA_MCP_CALLBACK_HOSTS must hold only host names"):
        read(LUMA_MCP_CALLBACK_HOSTS=hosts).require("LUMA_MCP_CALLBACK_HOSTS")


@pytest.mark.parametrize("text", ["ключ-от-luma", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="LUMA_API_KEY holds characters") as raised:
        read(LUMA_API_KEY=text).require_key()
    assert text not in str(raised.value)


def test_either_name_of_the_key_is_read_and_the_message_names_the_one_in_use() -> None:
    assert read(LUMAAI_API_KEY="b").key_variable == "LUMAAI_API_KEY"
    assert read(LUMA_API_KEY="a", LUMAAI_API_KEY="b").api_key == "a"
    both = read(LUMA_API_KEY="luma-api-1", LUMAAI_API_KEY="b")
    assert (both.api_key, both.agents_key, both.agents_key_variable) == ("b", "luma-api-1", "LUMA_API_KEY")
    assert both.apis == ("agents", "dream_machine")


def test_an_agents_key_is_told_by_its_prefix() -> None:
    assert read(LUMA_API_KEY="luma-api-1").agents_key_variable == "LUMA_API_KEY"
    assert read(LUMA_AGENTS_API_KEY="luma-api-1").agents_key_variable == "LUMA_AGENTS_API_KEY"
    with pytest.raises(SettingsError, match="LUMA_AGENTS_API_KEY does not hold an Agents key"):
        read(LUMA_AGENTS_API_KEY="other").require_key()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "ftp://example.com",
        "https://me:secret@example.com",
        "https://example.com/v1?key=1",
        "nonsense",
        "https://[::1",
        "https://example.com:port",
    ],
)
def test_a_host_that_would_get_the_key_in_the_clear_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LUMAAI_BASE_URL"):
        read(LUMA_API_KEY="a", LUMAAI_BASE_URL=url).require_key()


@pytest.mark.parametrize("url", ["https://example.com/v1/", "http://127.0.0.1:8642/v1", "http://localhost:1/v1"])
def test_https_and_this_computer_are_in_order(url: str) -> None:
    assert read(LUMA_API_KEY="a", LUMAAI_BASE_URL=url).base_url == url.rstrip("/")


@pytest.mark.parametrize("text", ["soon", "-1", "3601", "nan", "inf"])
def test_a_limit_that_is_none_is_refused_when_it_is_needed(text: str) -> None:
    settings = read(LUMA_MCP_WAIT_S=text)
    with pytest.raises(SettingsError, match="LUMA_MCP_WAIT_S must be a number of seconds from 0 to 3600"):
        settings.require("LUMA_MCP_WAIT_S")
    settings.require("LUMA_MCP_SAVE")


def test_paths_are_expanded_by_the_given_home_and_relative_ones_are_refused() -> None:
    home, films = Path(HOME["HOME"]), Path("/films").absolute()
    assert read().output_dir == home / "Luma"
    assert read(LUMA_MCP_OUTPUT_DIR="~/Films").output_dir == home / "Films"
    assert read(LUMA_MCP_OUTPUT_DIR=str(films)).output_dir == films
    for text in ("films", "./films", "~someone/films"):
        assert read(LUMA_MCP_OUTPUT_DIR=text).output_dir is None
    with pytest.raises(SettingsError, match=r"your home folder \(HOME\) is unknown"):
        Settings.from_env({}).require("LUMA_MCP_OUTPUT_DIR")
    assert read(LUMA_MCP_INPUT_DIRS=f"~/a, {films}").input_dirs == (home / "a", films)
    assert read(LUMA_MCP_INPUT_DIRS="off").input_dirs == ()
    with pytest.raises(SettingsError, match="LUMA_MCP_INPUT_DIRS must be an absolute path"):
        read(LUMA_MCP_INPUT_DIRS="a").require("LUMA_MCP_INPUT_DIRS")


def test_defaults_are_luma_s_own_address_forty_five_seconds_and_saving() -> None:
    settings = read()
    assert (settings.base_url, settings.agents_url) == (DREAM_MACHINE_URL, AGENTS_URL)
    assert (settings.wait_s, settings.save, settings.input_dirs) == (45, True, (Path(HOME["HOME"]),))
    assert settings.problems == {}


def test_switches_take_the_usual_words_and_nothing_else() -> None:
    assert read(LUMA_MCP_SAVE="OFF").save is False
    assert read(LUMA_MCP_SANDBOX="1").start_sandbox is True
    with pytest.raises(SettingsError, match="LUMA_MCP_SANDBOX must be on or off"):
        read(LUMA_API_KEY="a", LUMA_MCP_SANDBOX="perhaps").require_key()


def test_the_journal_is_one_file_for_every_client_with_another_for_the_sandbox() -> None:
    home, here = Path(HOME["HOME"]), Path("/luma/purchases.db").absolute()
    assert read().journal_file == home / ".luma-mcp" / "journal.sqlite3"
    assert read(LUMA_MCP_JOURNAL=str(here)).journal_file == here
    assert read(LUMA_MCP_JOURNAL=str(here), LUMA_API_KEY=SANDBOX_KEY).journal_file == here.with_name(
        "purchases-sandbox.db"
    )
    for environ in (HOME | {"LUMA_MCP_JOURNAL": "luma"}, {}):
        settings = Settings.from_env(environ)
        assert settings.journal_file is None
        with pytest.raises(SettingsError, match="LUMA_MCP_JOURNAL"):
            settings.require("LUMA_MCP_JOURNAL")


@pytest.mark.parametrize("text", ["${user_config.value}", "${HOME}/Luma", "${env:X} and more", "Bearer ${KEY}"])
def test_what_a_client_has_not_filled_in_counts_as_unset_in_every_variable(text: str) -> None:
    filled_in = {name: text for name in VARIABLES if "LUMA_MCP" in name or "URL" in name}
    assert read(**filled_in) == read()
    assert read(LUMA_AGENTS_API_KEY=text, LUMA_API_KEY="a").problems == {}
    with pytest.raises(SettingsError, match=r"No Luma API key is set \(LUMA_API_KEY holds a placeholder"):
        read(LUMA_API_KEY=text).require_key()


@pytest.mark.parametrize(
    ("text", "usd"), [("5", 5), ("$7.50", 7.5), (" 0 ", 0), ("$0", 0), ("off", None), ("NO", None), ("1e2", 100)]
)
def test_an_amount_is_a_number_of_dollars_or_off(text: str, usd: float | None) -> None:
    settings = read(LUMA_MCP_BUDGET_USD=text, LUMA_MCP_CONFIRM_USD=text)
    assert (settings.budget_usd, settings.confirm_usd) == (usd, usd)
    assert settings.problems == {}


def test_unless_set_the_budget_is_twenty_dollars_and_from_two_on_the_user_is_asked() -> None:
    for settings in (read(), read(LUMA_MCP_BUDGET_USD=" ", LUMA_MCP_CONFIRM_USD="")):
        assert (settings.budget_usd, settings.confirm_usd, settings.confirm_is_cap) == (20, 2, False)
    assert read(LUMA_MCP_CONFIRM_USD="2").confirm_is_cap


@pytest.mark.parametrize("text", ["-1", "$-1", "nan", "inf", "1,000", "20 EUR", "on", "$"])
def test_an_amount_that_is_none_is_refused_and_lifts_nothing(text: str) -> None:
    settings = read(LUMA_MCP_BUDGET_USD=text, LUMA_MCP_CONFIRM_USD=text)
    assert (settings.budget_usd, settings.confirm_usd) == (20, 2)
    for variable in ("LUMA_MCP_BUDGET_USD", "LUMA_MCP_CONFIRM_USD"):
        with pytest.raises(SettingsError, match=f"{variable} must be an amount in US dollars"):
            settings.require(variable)


def test_a_read_only_server_saves_nothing_and_a_value_that_can_t_be_read_makes_it_one() -> None:
    assert read().read_only is False
    assert read(LUMA_MCP_READ_ONLY="off").save is True
    assert (read(LUMA_MCP_READ_ONLY="on").read_only, read(LUMA_MCP_READ_ONLY="on").save) == (True, False)
    doubtful = read(LUMA_MCP_READ_ONLY="please", LUMA_MCP_SAVE="on")
    assert (doubtful.read_only, doubtful.save) == (True, False)
    with pytest.raises(SettingsError, match=r"READ_ONLY must be on or off"):
        doubtful.require("LUMA_MCP_READ_ONLY")


def test_jobs_belong_to_an_api_an_address_and_a_key_that_is_not_shown() -> None:
    settings = read(LUMA_API_KEY="a-key", LUMA_AGENTS_API_KEY="luma-api-key", LUMAAI_BASE_URL="https://example.com/v1/")
    # The first 12 digits of `printf %s a-key | sha256sum`.
    assert settings.account("dream_machine") == "dream_machine https://example.com/v1 2a8a1240f506"
    assert settings.account("agents") == f"agents {AGENTS_URL} 388ffd624b90"


def test_a_misspelled_setting_is_noticed() -> None:
    assert read(LUMA_MCP_WAIT="9", LUMA_MCP_WAIT_S="9").misspelled == (
        "LUMA_MCP_WAIT is not a setting of this server: is it misspelled?",
    )


def test_on_the_sandbox_no_real_key_is_used_and_no_problem_of_one_remains() -> None:
    settings = read(LUMA_API_KEY="two words", LUMA_AGENTS_API_KEY="x", LUMAAI_BASE_URL="ftp://x", LUMA_MCP_SAVE="?")
    on_sandbox = settings.on_sandbox("http://127.0.0.1:1/dream-machine/v1", "http://127.0.0.1:1/v1")
    assert (on_sandbox.api_key, on_sandbox.agents_key) == (SANDBOX_KEY, AGENTS_SANDBOX_KEY)
    assert on_sandbox.sandbox
    assert not read(LUMA_API_KEY=SANDBOX_KEY, LUMA_AGENTS_API_KEY="luma-api-real").sandbox
    assert not read().sandbox
    assert list(on_sandbox.problems) == ["LUMA_MCP_SAVE"]


def test_both_sides_name_the_same_sandbox_keys() -> None:
    assert (sandbox.SANDBOX_KEY, sandbox.AGENTS_SANDBOX_KEY) == (SANDBOX_KEY, AGENTS_SANDBOX_KEY)


def test_the_key_is_not_in_the_settings_own_words() -> None:
    assert "real-key" not in repr(read(LUMA_API_KEY="real-key"))
