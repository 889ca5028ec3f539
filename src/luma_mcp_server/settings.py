"""What the user set: read once from the environment, checked, frozen.

Reading never fails: the server always starts, and each call that needs a value that can't be used says what is wrong.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from .errors import SettingsError

KEY_VARIABLES = ("LUMA_API_KEY", "LUMAAI_API_KEY")
AGENTS_KEY_VARIABLE = "LUMA_AGENTS_API_KEY"
ALL_KEY_VARIABLES = (*KEY_VARIABLES, AGENTS_KEY_VARIABLE)
# Source: Luma Agents API documentation, error handling page: any other key is answered with 401.
_AGENTS_KEY_PREFIX = "luma-api-"

# The only keys that the sandbox takes. Luma would refuse them, so what they make is never real.
SANDBOX_KEY = "luma-sandbox-key"
AGENTS_SANDBOX_KEY = "luma-api-sandbox-key"

# Sources: _client.py of lumaai 1.21.0 and of luma-agents 0.5.0.
DREAM_MACHINE_URL = "https://api.lumalabs.ai/dream-machine/v1"
AGENTS_URL = "https://agents.lumalabs.ai/v1"

# How each sentence about a value ends.
CORRECT_IT = " Correct it, then restart this server."

# Where keys are made. Sources: Luma Agents API FAQ; Luma's Dream Machine API documentation, whose page led nowhere for
# new keys in 2026-06.
AGENTS_KEYS_PAGE = "platform.lumalabs.ai"
DREAM_MACHINE_KEYS_PAGE = f"existing keys: lumalabs.ai/dream-machine/api/keys; new keys: {AGENTS_KEYS_PAGE}"

# Every variable: its default and its meaning, as the README and `--help` show them.
VARIABLES = {
    "LUMA_API_KEY": ("none", "key for either Luma API, told apart by its prefix (`LUMAAI_API_KEY` is read too)"),
    "LUMA_AGENTS_API_KEY": ("none", "key for the Agents API, beside a key for the Dream Machine API"),
    "LUMA_BASE_URL": (AGENTS_URL, "base URL of the Agents API: https, or http on this computer"),
    "LUMAAI_BASE_URL": (DREAM_MACHINE_URL, "base URL of the Dream Machine API: https, or http on this computer"),
    "LUMA_MCP_WAIT_S": ("45", "longest time that one call takes, in seconds, 0 to 3600"),
    "LUMA_MCP_OUTPUT_DIR": ("~/Luma", "folder where finished videos and images are saved"),
    "LUMA_MCP_SAVE": ("on", "`off`: answer with links only, save only when asked"),
    "LUMA_MCP_JOURNAL": ("~/.luma-mcp/journal.sqlite3", "file with the record of purchases: one for every client"),
    "LUMA_MCP_BUDGET_USD": ("20", "most that purchases may cost in any 24 hours, in US dollars; `off` lifts it"),
    "LUMA_MCP_CONFIRM_USD": ("2", "price above which you are asked before a purchase, in US dollars; `off` never asks"),
    "LUMA_MCP_USER": ("none", "who buys, where several share a key: in the journal, and told to Luma as `user_id`"),
    "LUMA_MCP_INPUT_DIRS": ("~", "folders that local files may come from, separated by commas; `off` refuses all"),
    "LUMA_MCP_CALLBACK_HOSTS": ("none", "hosts that `callback_url` may name, separated by commas"),
    "LUMA_MCP_READ_ONLY": ("off", "`on`: list only the tools that buy, save and delete nothing"),
    "LUMA_MCP_SANDBOX": ("off", "`on` (or `--sandbox`): use the built-in sandbox instead of Luma; free"),
}
ApiName = Literal["agents", "dream_machine"]


@dataclass(frozen=True)
class Settings:
    """The settings of one server.

    Attributes:
        api_key: key for the Dream Machine API.
        key_variable: the variable that it came from, for messages.
        output_dir: absolute, as every path here; None, like `journal`, when the setting can't be used.
        save: whether finished files are saved without being asked for; never when `read_only`.
        budget_usd: most that purchases may cost within 24 hours, in US dollars; None for no limit.
        confirm_usd: price above which the user is asked, in US dollars; None to ask never.
        confirm_is_cap: whether the user has set it: then nothing above it is bought where nobody can be asked.
        user: who buys.
        start_sandbox: the command that serves starts the built-in sandbox and calls `on_sandbox`.
        problems: variables whose value can't be used, each with what to set, as a complete sentence.
        misspelled: what to say of variables that do not exist; what looks like a limit on spending is a problem.
        unfilled_keys: key variables that hold a placeholder such as `${LUMA_API_KEY}`, which counts as nothing.
    """

    api_key: str | None = field(default=None, repr=False)
    key_variable: str = KEY_VARIABLES[0]
    agents_key: str | None = field(default=None, repr=False)
    agents_key_variable: str = KEY_VARIABLES[0]
    base_url: str = DREAM_MACHINE_URL
    agents_url: str = AGENTS_URL
    wait_s: float = 45.0
    output_dir: Path | None = None
    save: bool = True
    journal: Path | None = None
    budget_usd: float | None = 20.0
    confirm_usd: float | None = 2.0
    confirm_is_cap: bool = False
    user: str | None = None
    read_only: bool = False
    home: Path | None = None
    input_dirs: tuple[Path, ...] = ()
    callback_hosts: tuple[str, ...] = ()
    start_sandbox: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)
    unfilled_keys: tuple[str, ...] = ()
    misspelled: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings, from `os.environ` or any other mapping."""
        folder = Path(environ.get("HOME") or environ.get("USERPROFILE") or "")
        home = folder if folder.is_absolute() else None
        readers: dict[str, tuple[str, Callable[[str], Any]]] = {
            "LUMAAI_BASE_URL": ("base_url", _base_url),
            "LUMA_BASE_URL": ("agents_url", _base_url),
            "LUMA_MCP_WAIT_S": ("wait_s", partial(_number, 3600.0, "must be a number of seconds from 0 to 3600.")),
            "LUMA_MCP_OUTPUT_DIR": ("output_dir", partial(_path, home)),
            "LUMA_MCP_SAVE": ("save", _switch),
            "LUMA_MCP_JOURNAL": ("journal", partial(_path, home)),
            "LUMA_MCP_BUDGET_USD": ("budget_usd", _dollars),
            "LUMA_MCP_CONFIRM_USD": ("confirm_usd", _dollars),
            "LUMA_MCP_USER": ("user", _user),
            "LUMA_MCP_INPUT_DIRS": ("input_dirs", partial(_paths, home)),
            "LUMA_MCP_CALLBACK_HOSTS": ("callback_hosts", _hosts),
            "LUMA_MCP_READ_ONLY": ("read_only", _switch),
            "LUMA_MCP_SANDBOX": ("start_sandbox", _switch),
        }
        values, problems = _keys(environ)
        for variable, (name, read) in readers.items():
            try:
                if text := _text(environ, variable) or VARIABLES[variable][0].removeprefix("none"):
                    values[name] = read(text)
            except ValueError as wrong:
                problems[variable] = str(wrong)
        # What can't be read there was meant to prevent spending.
        read_only = values.pop("read_only", True)
        values["save"] = values.get("save", True) and not read_only
        unknown = sorted(name for name in environ if name.startswith("LUMA_MCP_") and name not in VARIABLES)
        for name in unknown:
            import difflib  # nearly always nothing is misspelled

            if meant := difflib.get_close_matches(name, _LIMITS, 1, 0.8):
                problems[name] = f"is not a setting of this server: {meant[0]} is."
        return cls(
            **values,
            confirm_is_cap=bool(_text(environ, "LUMA_MCP_CONFIRM_USD")),
            read_only=read_only,
            home=home,
            problems={name: f"{name} {why}{CORRECT_IT}" for name, why in problems.items()},
            misspelled=tuple(
                f"{name} is not a setting of this server: is it misspelled?" for name in unknown if name not in problems
            ),
        )

    def account(self, api: ApiName) -> str:
        """Whose purchases an API's are: the API, its base URL, and 12 hexadecimal digits of its key's SHA-256."""
        url, key = (self.agents_url, self.agents_key) if api == "agents" else (self.base_url, self.api_key)
        return f"{api} {url} {sha256((key or '').encode()).hexdigest()[:12]}"

    @property
    def apis(self) -> tuple[ApiName, ...]:
        """The APIs that there is a key for."""
        agents: tuple[ApiName, ...] = ("agents",) if self.agents_key is not None else ()
        return (*agents, "dream_machine") if self.api_key is not None else agents

    @property
    def sandbox(self) -> bool:
        """Whether nothing that is made can be real: only a sandbox takes these keys."""
        return {self.api_key, self.agents_key} <= {SANDBOX_KEY, AGENTS_SANDBOX_KEY, None} and bool(self.apis)

    @property
    def journal_file(self) -> Path | None:
        """The file with the record of purchases. What the sandbox makes is no money: it has a file of its own."""
        if self.journal is None or not self.sandbox:
            return self.journal
        return self.journal.with_name(f"{self.journal.stem}-sandbox{self.journal.suffix}")

    def on_sandbox(self, base_url: str, agents_url: str) -> "Settings":
        """The same settings, using a sandbox with its keys, whatever keys were set."""
        replaced = {*ALL_KEY_VARIABLES, "LUMAAI_BASE_URL", "LUMA_BASE_URL"}
        return replace(
            self,
            api_key=SANDBOX_KEY,
            agents_key=AGENTS_SANDBOX_KEY,
            base_url=base_url,
            agents_url=agents_url,
            problems={name: sentence for name, sentence in self.problems.items() if name not in replaced},
        )

    def wrong(self, *variables: str) -> str | None:
        """What to say if one of these holds a value that can't be used."""
        return next((self.problems[name] for name in variables if name in self.problems), None)

    def require_limits(self) -> None:
        """Raise `SettingsError` if a limit on spending can't be read, or is misspelled."""
        self.require(*_LIMITS, *(name for name in self.problems if name not in VARIABLES))

    def require(self, *variables: str) -> None:
        """Raise `SettingsError` if one of these holds a value that can't be used."""
        if sentence := self.wrong(*variables):
            raise SettingsError(f"{sentence} Nothing was sent.")

    def require_key(self) -> None:
        """Raise `SettingsError`, with what to set, unless there is a usable key for at least one API."""
        self.require("LUMAAI_BASE_URL", "LUMA_BASE_URL", "LUMA_MCP_SANDBOX")
        if self.apis:
            return
        self.require(*ALL_KEY_VARIABLES)
        unfilled = " and ".join(self.unfilled_keys)
        raise SettingsError(
            f"No Luma API key is set{unfilled and f' ({unfilled} holds a placeholder, not a key)'}. Nothing was sent. "
            "Put LUMA_API_KEY into this server's env in your client's MCP configuration (keys: "
            f"{AGENTS_KEYS_PAGE}) and restart it, or start it with --sandbox: free."
        )


_LIMITS = ("LUMA_MCP_BUDGET_USD", "LUMA_MCP_CONFIRM_USD", "LUMA_MCP_READ_ONLY")

# What a client leaves in a variable that the user left empty. Source: @anthropic-ai/mcpb, src/shared/config.ts.
_UNFILLED = re.compile(r"\$\{[^}]*\}")
_PASTED_ALONG = re.compile(r"^[\"'\s]*(?:bearer\s+)?[\"'\s]*|[\"'\s]+$", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$|<|your|xxx|…|\.\.\.", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_ON = ("on", "1", "true", "yes")
_OFF = ("off", "0", "false", "no")


def _text(environ: Mapping[str, str], variable: str) -> str:
    """A variable's value; empty where it was never filled in."""
    text = environ.get(variable, "").strip()
    return "" if _UNFILLED.search(text) else text


def _keys(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys, as fields of `Settings`, and what is wrong with them; the first key of each API counts."""
    found: dict[str, Any] = {}
    unfilled: list[str] = []
    problems: dict[str, str] = {}
    for variable in ALL_KEY_VARIABLES:
        key = _PASTED_ALONG.sub("", _text(environ, variable))
        if not key or _PLACEHOLDER.match(key):
            unfilled += [variable] if environ.get(variable, "").strip() else []
        elif not key.isascii() or not key.isprintable() or " " in key:
            wrong = "holds characters that no Luma key has (spaces, line breaks or non-ASCII letters). Copy it again."
            problems[variable] = wrong
        elif key.startswith("sk-") and not _text(environ, "LUMAAI_BASE_URL"):
            # OpenAI's and Anthropic's keys begin so. A gateway with Luma's interface may hand out such keys too.
            problems[variable] = f"starts with sk-, which no Luma key does (keys: {AGENTS_KEYS_PAGE})."
        elif key.startswith(_AGENTS_KEY_PREFIX):
            found = {"agents_key": key, "agents_key_variable": variable} | found
        elif variable == AGENTS_KEY_VARIABLE:
            problems[variable] = f"does not hold an Agents key: those start with {_AGENTS_KEY_PREFIX}."
        else:
            found = {"api_key": key, "key_variable": variable} | found
    return found | {"unfilled_keys": tuple(unfilled)}, problems


# Each of these reads one value; a ValueError says what the value must be.


def _base_url(text: str) -> str:
    match = re.fullmatch(r"(https?)://(\[::1\]|[\w.-]+)(?::[0-9]{1,5})?(?:/[^\s?#]*)?", text)
    if not match or (match[1] == "http" and not is_loopback(match[2].strip("[]"))):
        raise ValueError("must be an https URL without user, query or fragment (http only for this computer).")
    return text.rstrip("/")


def _number(most: float, wrong: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise ValueError(wrong)
    return number


def _dollars(text: str) -> float | None:
    if text.lower() in ("off", "no", "false"):
        return None
    wrong = "must be an amount in US dollars, such as 5 or 7.50, or off."
    return _number(sys.float_info.max, wrong, text.removeprefix("$"))


def _user(text: str) -> str:
    if len(text) > 64 or not text.isprintable():
        raise ValueError("must be a name of at most 64 printable characters.")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in (*_ON, *_OFF):
        raise ValueError("must be on or off.")
    return text.lower() in _ON


def _path(home: Path | None, text: str) -> Path:
    path = Path(text)
    if text[:1] == "~" and text[1:2] in ("", "/", "\\"):
        if home is None:
            raise ValueError(f"is {text}, but your home folder (HOME) is unknown: set it to an absolute path.")
        path = home / text[1:].lstrip("/\\")
    if not path.is_absolute():
        raise ValueError("must be an absolute path, or start with ~/.")
    return path


def _paths(home: Path | None, text: str) -> tuple[Path, ...]:
    return () if text.lower() in _OFF else tuple(_path(home, name) for name in _split(text))


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _split(text.lower())
    if not all(map(_HOST.fullmatch, hosts)):
        raise ValueError("must hold only host names, such as hooks.example.com, separated by commas.")
    return hosts


def _split(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this computer."""
    return host == "localhost" or re.fullmatch(r"127(\.[0-9]{1,3}){3}|::1", host) is not None
