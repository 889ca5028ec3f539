"""What the user set: read once from the environment, checked, frozen.

Reading never fails. A value that can't be used is kept as a `Problem`, and each call that needs it answers with
the problem's sentence, so that the server always starts and can say what is wrong.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from .errors import SettingsError

KEY_VARIABLES = ("LUMA_API_KEY", "LUMAAI_API_KEY")
AGENTS_KEY_VARIABLE = "LUMA_AGENTS_API_KEY"
AGENTS_KEY_PREFIX = "luma-api-"
"""Source: Luma Agents API documentation, error handling page: any other key is answered with 401."""

SANDBOX_KEY = "luma-sandbox-key"
AGENTS_SANDBOX_KEY = "luma-api-sandbox-key"
"""The only keys that the sandbox takes. Luma would refuse them, so what they make is never real."""

DREAM_MACHINE_URL = "https://api.lumalabs.ai/dream-machine/v1"
"""Source: lumaai 1.21.0 _client.py."""

AGENTS_URL = "https://agents.lumalabs.ai/v1"
"""Source: luma-agents 0.5.0 _client.py."""

AGENTS_KEYS_PAGE = "platform.lumalabs.ai"
"""Source: Luma Agents API FAQ."""

DREAM_MACHINE_KEYS_PAGE = "lumalabs.ai/dream-machine/api/keys"
"""Source: Luma's Dream Machine API documentation."""

VARIABLES = {
    "LUMA_API_KEY": ("none", "key of either of Luma's APIs, told apart by its prefix (`LUMAAI_API_KEY` is read too)"),
    "LUMA_AGENTS_API_KEY": ("none", "key of the Agents API beside one of the Dream Machine API"),
    "LUMA_BASE_URL": (AGENTS_URL, "base URL of the Agents API: https, or http on this computer"),
    "LUMAAI_BASE_URL": (DREAM_MACHINE_URL, "base URL of the Dream Machine API, likewise"),
    "LUMA_MCP_WAIT_S": ("45", "longest time that one call takes, in seconds, 0 to 3600"),
    "LUMA_MCP_OUTPUT_DIR": ("~/Luma", "folder that finished videos and images are saved in"),
    "LUMA_MCP_SAVE": ("on", "`off`: answer with links alone, save only when asked"),
    "LUMA_MCP_STATE_DIR": ("~/.luma-mcp", "folder of the record of paid jobs: one place for every client"),
    "LUMA_MCP_BUDGET_USD": ("20", "most that paid jobs may cost within 24 hours, in US dollars; `off` lifts it"),
    "LUMA_MCP_CONFIRM_USD": ("none", "price above which you are asked before a job is bought, in US dollars"),
    "LUMA_MCP_INPUT_DIRS": ("~", "folders that local files may come from, separated by commas; `off` refuses all"),
    "LUMA_MCP_CALLBACK_HOSTS": ("none", "hosts that `callback_url` may name, separated by commas"),
    "LUMA_MCP_READ_ONLY": ("off", "`on`: list only the tools that buy, save and delete nothing"),
    "LUMA_MCP_SANDBOX": ("off", "`on` (or `--sandbox`): use the built-in sandbox instead of Luma; free"),
}
"""Every variable: its default and its meaning, as the README and `--help` show them."""

MAX_WAIT_S = 3600.0
DEFAULT_BUDGET_USD = 20.0


@dataclass(frozen=True)
class Problem:
    """A value that can't be used."""

    variable: str
    sentence: str
    """What is wrong and what to set, complete by itself."""


@dataclass(frozen=True)
class Settings:
    """The settings of one server."""

    api_key: str | None = field(default=None, repr=False)
    """Key of the Dream Machine API."""

    key_variable: str = "LUMA_API_KEY"
    """The variable that it came from, for messages."""

    agents_key: str | None = field(default=None, repr=False)
    """Key of the Agents API."""

    agents_key_variable: str = "LUMA_API_KEY"
    base_url: str = DREAM_MACHINE_URL
    agents_url: str = AGENTS_URL
    wait_s: float = 45.0
    """Longest time that one call takes, in seconds."""

    output_dir: Path | None = None
    """Absolute; none when the setting can't be used."""

    save: bool = True
    """Whether finished files are saved unasked; never when `read_only`."""

    state_dir: Path | None = None
    """Absolute; none when the setting can't be used, or when it is left out and the home folder is unknown."""

    budget_usd: float | None = DEFAULT_BUDGET_USD
    """Most that paid jobs may cost within 24 hours, in US dollars; none when it is lifted."""

    budget_set: bool = False
    """Whether the user said anything about the budget."""

    confirm_usd: float | None = None
    """Price above which the user is asked, in US dollars; none when nobody is asked."""

    read_only: bool = False
    home: Path | None = None
    """The user's home folder, where it is known."""

    input_dirs: tuple[Path, ...] = ()
    """Folders that local files may come from."""

    callback_hosts: tuple[str, ...] = ()
    start_sandbox: bool = False
    """The user asked for the built-in sandbox: whoever serves starts one and calls `on_sandbox`."""

    problems: tuple[Problem, ...] = ()
    unknown_variables: tuple[str, ...] = ()
    """Variables called LUMA_MCP_… that do not exist: most likely misspelt."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings, from `os.environ` or any other mapping."""
        problems: list[Problem] = []

        def read(variable: str) -> str | None:
            return environ.get(variable, "").strip() or None

        def refuse(variable: str, sentence: str) -> None:
            problems.append(Problem(variable, f"{variable} {sentence} Correct it, then restart this server."))

        api_key = agents_key = None
        key_variable = agents_key_variable = KEY_VARIABLES[0]
        for variable in (*KEY_VARIABLES, AGENTS_KEY_VARIABLE):
            key = _clean_key(environ.get(variable, ""))
            if key is None:
                if environ.get(variable, "").strip():
                    refuse(variable, "holds a placeholder, not a key: your client did not fill it in.")
                continue
            if wrong := _wrong_key(key):
                refuse(variable, wrong)
            elif key.startswith(AGENTS_KEY_PREFIX):
                if agents_key is None:
                    agents_key, agents_key_variable = key, variable
            elif variable == AGENTS_KEY_VARIABLE:
                refuse(variable, f"does not hold an Agents key: those start with {AGENTS_KEY_PREFIX}.")
            elif api_key is None:
                api_key, key_variable = key, variable

        urls = {"LUMAAI_BASE_URL": DREAM_MACHINE_URL, "LUMA_BASE_URL": AGENTS_URL}
        for variable, default in urls.items():
            urls[variable] = (read(variable) or default).rstrip("/")
            if wrong := _wrong_base_url(urls[variable]):
                refuse(variable, wrong)

        wait_s = 45.0
        if (text := read("LUMA_MCP_WAIT_S")) is not None:
            try:
                wait_s = float(text)
            except ValueError:
                wait_s = -1.0
            if not 0 <= wait_s <= MAX_WAIT_S:
                refuse("LUMA_MCP_WAIT_S", f"must be a number of seconds from 0 to {MAX_WAIT_S:.0f}.")
                wait_s = 45.0

        home = environ.get("HOME") or environ.get("USERPROFILE")

        def folder(variable: str, text: str) -> Path | None:
            path: Path | None = Path(text)
            if text.startswith("~"):
                if not home or not Path(home).is_absolute():
                    refuse(variable, f"is {text}, but your home folder (HOME) is unknown: set it to an absolute path.")
                    return None
                path = Path(home, text[1:].lstrip("/\\")) if text[1:2] in ("", "/", "\\") else None
            if path is None or not path.is_absolute():
                refuse(variable, "must be an absolute path, or start with ~/.")
                return None
            return path

        output_dir = folder("LUMA_MCP_OUTPUT_DIR", read("LUMA_MCP_OUTPUT_DIR") or "~/Luma")
        # Nobody who set nothing is to blame for a missing HOME: paid jobs are then recorded in memory.
        set_or_known = read("LUMA_MCP_STATE_DIR") or (home and Path(home).is_absolute())
        state_dir = folder("LUMA_MCP_STATE_DIR", read("LUMA_MCP_STATE_DIR") or "~/.luma-mcp") if set_or_known else None
        inputs = read("LUMA_MCP_INPUT_DIRS") or "~"
        names = [] if inputs.lower() in _OFF else [name.strip() for name in inputs.split(",") if name.strip()]
        input_dirs = [path for name in names if (path := folder("LUMA_MCP_INPUT_DIRS", name))]

        def dollars(variable: str, default: float | None) -> float | None:
            text = (read(variable) or "").lower()
            if not text:
                return default
            try:
                usd = float(text.removeprefix("$"))
            except ValueError:
                usd = math.nan
            if 0 <= usd < math.inf:
                return usd
            if text not in _OFF:
                refuse(variable, "must be an amount in US dollars, such as 5 or 7.50, or off.")
                return default
            return None

        def switch(variable: str, default: bool, if_wrong: bool | None = None) -> bool:
            text = (read(variable) or "").lower()
            if text in ("", *_ON, *_OFF):
                return text in _ON if text else default
            meanwhile = "" if if_wrong is None else f" Until then it is {'on' if if_wrong else 'off'}."
            refuse(variable, f"must be on or off.{meanwhile}")
            return default if if_wrong is None else if_wrong

        # Whoever wrote anything there wanted to be kept from paying.
        read_only = switch("LUMA_MCP_READ_ONLY", False, if_wrong=True)

        hosts = tuple(filter(None, map(str.strip, environ.get("LUMA_MCP_CALLBACK_HOSTS", "").lower().split(","))))
        if not all(map(_HOST.fullmatch, hosts)):
            refuse("LUMA_MCP_CALLBACK_HOSTS", "holds host names alone, such as hooks.example.com, separated by commas.")

        return cls(
            api_key=api_key,
            key_variable=key_variable,
            agents_key=agents_key,
            agents_key_variable=agents_key_variable,
            base_url=urls["LUMAAI_BASE_URL"],
            agents_url=urls["LUMA_BASE_URL"],
            wait_s=wait_s,
            output_dir=output_dir,
            save=switch("LUMA_MCP_SAVE", True) and not read_only,
            state_dir=state_dir,
            budget_usd=dollars("LUMA_MCP_BUDGET_USD", DEFAULT_BUDGET_USD),
            budget_set=read("LUMA_MCP_BUDGET_USD") is not None,
            confirm_usd=dollars("LUMA_MCP_CONFIRM_USD", None),
            read_only=read_only,
            home=Path(home) if home and Path(home).is_absolute() else None,
            input_dirs=tuple(input_dirs),
            callback_hosts=hosts,
            start_sandbox=switch("LUMA_MCP_SANDBOX", False),
            problems=tuple(problems),
            unknown_variables=tuple(
                sorted(name for name in environ if name.startswith("LUMA_MCP_") and name not in VARIABLES)
            ),
        )

    def account(self, api: Literal["agents", "dream_machine"]) -> str:
        """Whose jobs an API's are: the API, its base URL, and the first 12 hexadecimal digits of its key's SHA-256."""
        url, key = (self.agents_url, self.agents_key) if api == "agents" else (self.base_url, self.api_key)
        return f"{api} {url} {sha256((key or '').encode()).hexdigest()[:12]}"

    @property
    def apis(self) -> tuple[Literal["agents", "dream_machine"], ...]:
        """The APIs that there is a key for."""
        agents: tuple[Literal["agents"], ...] = ("agents",) if self.agents_key is not None else ()
        return (*agents, "dream_machine") if self.api_key is not None else agents

    @property
    def sandbox(self) -> bool:
        """Whether nothing that is made can be real: only a sandbox takes these keys."""
        return {self.api_key, self.agents_key} <= {SANDBOX_KEY, AGENTS_SANDBOX_KEY, None} and bool(self.apis)

    def on_sandbox(self, base_url: str, agents_url: str) -> "Settings":
        """The same settings, talking to a sandbox with its keys, whatever keys were set."""
        of_api = {*KEY_VARIABLES, AGENTS_KEY_VARIABLE, "LUMAAI_BASE_URL", "LUMA_BASE_URL"}
        return replace(
            self,
            api_key=SANDBOX_KEY,
            agents_key=AGENTS_SANDBOX_KEY,
            base_url=base_url,
            agents_url=agents_url,
            problems=tuple(problem for problem in self.problems if problem.variable not in of_api),
        )

    @property
    def misspelt(self) -> list[str]:
        """What to say of variables that most likely were meant to be others: a budget may be among them."""
        return [f"{name} is no setting of this server: is it misspelt?" for name in self.unknown_variables]

    def wrong(self, *variables: str) -> str | None:
        """What to say if one of these holds a value that can't be used."""
        return next((problem.sentence for problem in self.problems if problem.variable in variables), None)

    def require(self, *variables: str) -> None:
        """Raise `SettingsError` if one of these holds a value that can't be used."""
        if sentence := self.wrong(*variables):
            raise SettingsError(f"{sentence} Nothing was sent.")

    def require_key(self) -> None:
        """Raise `SettingsError`, with what to set, unless there is a usable key for at least one API."""
        self.require("LUMAAI_BASE_URL", "LUMA_BASE_URL", "LUMA_MCP_SANDBOX")
        if self.apis:
            return
        self.require(*KEY_VARIABLES, AGENTS_KEY_VARIABLE)
        raise SettingsError(
            "No Luma API key is set. Nothing was sent. Put LUMA_API_KEY into this server's env in your client's MCP "
            f"configuration (keys: {AGENTS_KEYS_PAGE}) and restart it, or start it with --sandbox: free."
        )


_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_ON = ("on", "1", "true", "yes")
_OFF = ("off", "0", "false", "no")


def _clean_key(text: str) -> str | None:
    """The key without what is easily pasted along with it; none for a placeholder."""
    key = text.strip().strip("\"'").strip()
    if key.lower().startswith("bearer "):
        key = key[7:].strip().strip("\"'")
    lowered = key.lower()
    if not key or key.startswith(("${", "$", "<")) or lowered.startswith(("your", "xxx", "…", "...")):
        return None
    return key


def _wrong_key(key: str) -> str | None:
    if not (key.isascii() and key.isprintable()) or " " in key:
        return "holds characters that no Luma key has (spaces, line breaks or non-ASCII letters). Copy the key again."
    return None


def _wrong_base_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return "is not a URL."
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        return "must be a plain URL: https, a host and a path, with no user, query or fragment."
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return None
    return "must start with https:// (http:// only for this computer), as the key would travel in the clear."


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this computer."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
