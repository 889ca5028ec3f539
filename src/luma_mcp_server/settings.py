"""What the user set: read once from the environment, checked, frozen.

Reading never fails. A value that can't be used is kept as a `Problem`, and each call that needs it answers with
the problem's sentence, so that the server always starts and can say what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from .errors import SettingsError

KEY_VARIABLES = ("LUMA_API_KEY", "LUMAAI_API_KEY")
AGENTS_KEY_VARIABLE = "LUMA_AGENTS_API_KEY"
AGENTS_KEY_PREFIX = "luma-api-"
"""Source: Luma Agents API documentation, error handling page: any other key is answered with 401."""

SANDBOX_KEY = "luma-sandbox-key"
"""The only key that the sandbox takes. Luma would refuse it, so what it makes is never real."""

DREAM_MACHINE_URL = "https://api.lumalabs.ai/dream-machine/v1"
"""Source: lumaai 1.21.0 _client.py."""

DREAM_MACHINE_KEYS_PAGE = "lumalabs.ai/dream-machine/api/keys"
"""Source: Luma's Dream Machine API documentation."""

VARIABLES = {
    "LUMA_API_KEY": ("none", "Luma API key (`LUMAAI_API_KEY` is read too)"),
    "LUMA_AGENTS_API_KEY": ("none", "key of Luma's Agents API; this version recognises it but can't use it yet"),
    "LUMAAI_BASE_URL": (DREAM_MACHINE_URL, "base URL of the Dream Machine API: https, or http on this computer"),
    "LUMA_MCP_WAIT_S": ("45", "longest time that one call takes, in seconds, 0 to 3600"),
    "LUMA_MCP_OUTPUT_DIR": ("~/Luma", "folder that finished videos and images are saved in"),
    "LUMA_MCP_SAVE": ("on", "`off`: answer with links alone, save only when asked"),
    "LUMA_MCP_CALLBACK_HOSTS": ("none", "hosts that `callback_url` may name, separated by commas"),
    "LUMA_MCP_SANDBOX": ("off", "`on` (or `--sandbox`): use the built-in sandbox instead of Luma; free"),
}
"""Every variable: its default and its meaning, as the README and `--help` show them."""

MAX_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that can't be used."""

    variable: str
    sentence: str
    """What is wrong and what to set, complete by itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server."""

    api_key: str | None = field(default=None, repr=False)
    """Key of the Dream Machine API."""

    key_variable: str = "LUMA_API_KEY"
    """The variable that the key came from, for messages."""

    agents_key_variable: str | None = None
    """The variable that holds an Agents key, if one does."""

    base_url: str = DREAM_MACHINE_URL
    wait_s: float = 45.0
    """Longest time that one call takes, in seconds."""

    output_dir: Path | None = None
    """Absolute; none when the setting can't be used."""

    save: bool = True
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
            problems.append(Problem(variable, f"{variable} {sentence}"))

        api_key, key_variable, agents_key_variable = None, KEY_VARIABLES[0], None
        for variable in (*KEY_VARIABLES, AGENTS_KEY_VARIABLE):
            key = _clean_key(environ.get(variable, ""))
            if key is None:
                continue
            if wrong := _wrong_key(key):
                refuse(variable, wrong)
            elif key.startswith(AGENTS_KEY_PREFIX):
                agents_key_variable = agents_key_variable or variable
            elif variable == AGENTS_KEY_VARIABLE:
                refuse(variable, f"does not hold an Agents key: those start with {AGENTS_KEY_PREFIX}.")
            elif api_key is None:
                api_key, key_variable = key, variable

        base_url = (read("LUMAAI_BASE_URL") or DREAM_MACHINE_URL).rstrip("/")
        if wrong := _wrong_base_url(base_url):
            refuse("LUMAAI_BASE_URL", wrong)

        wait_s = 45.0
        if (text := read("LUMA_MCP_WAIT_S")) is not None:
            try:
                wait_s = float(text)
            except ValueError:
                wait_s = -1.0
            if not 0 <= wait_s <= MAX_WAIT_S:
                refuse("LUMA_MCP_WAIT_S", f"must be a number of seconds from 0 to {MAX_WAIT_S:.0f}.")
                wait_s = 45.0

        # An unknown HOME leaves `~` as it is, which is then refused as a relative path.
        text = read("LUMA_MCP_OUTPUT_DIR") or "~/Luma"
        output_dir: Path | None = Path(text)
        if text.startswith("~"):
            home = environ.get("HOME") or environ.get("USERPROFILE")
            output_dir = Path(home, text[1:].lstrip("/\\")) if home and text[1:2] in ("", "/", "\\") else None
        if output_dir is None or not output_dir.is_absolute():
            refuse("LUMA_MCP_OUTPUT_DIR", "must be an absolute path, or start with ~/.")
            output_dir = None

        def switch(variable: str, default: bool) -> bool:
            text = (read(variable) or "").lower()
            if text not in ("", *_ON, *_OFF):
                refuse(variable, "must be on or off.")
            return text in _ON if text in (*_ON, *_OFF) else default

        hosts = tuple(host.strip().lower() for host in environ.get("LUMA_MCP_CALLBACK_HOSTS", "").split(","))
        return cls(
            api_key=api_key,
            key_variable=key_variable,
            agents_key_variable=agents_key_variable,
            base_url=base_url,
            wait_s=wait_s,
            output_dir=output_dir,
            save=switch("LUMA_MCP_SAVE", True),
            callback_hosts=tuple(filter(None, hosts)),
            start_sandbox=switch("LUMA_MCP_SANDBOX", False),
            problems=tuple(problems),
            unknown_variables=tuple(
                sorted(name for name in environ if name.startswith("LUMA_MCP_") and name not in VARIABLES)
            ),
        )

    @property
    def sandbox(self) -> bool:
        """Whether nothing that is made can be real: only a sandbox takes this key."""
        return self.api_key == SANDBOX_KEY

    def on_sandbox(self, base_url: str) -> "Settings":
        """The same settings, talking to a sandbox at `base_url` with its key, whatever key was set."""
        of_api = {*KEY_VARIABLES, AGENTS_KEY_VARIABLE, "LUMAAI_BASE_URL"}
        return replace(
            self,
            api_key=SANDBOX_KEY,
            agents_key_variable=None,
            base_url=base_url,
            problems=tuple(problem for problem in self.problems if problem.variable not in of_api),
        )

    def require(self, *variables: str) -> None:
        """Raise `SettingsError` if one of these holds a value that can't be used."""
        for problem in self.problems:
            if problem.variable in variables:
                raise SettingsError(problem.sentence)

    def require_key(self) -> str:
        """The Dream Machine key.

        Raises:
            SettingsError: it is missing or unusable, or its host is; the message says what to set.
        """
        self.require("LUMAAI_BASE_URL", "LUMA_MCP_SANDBOX")
        if self.api_key is not None:
            return self.api_key
        self.require(*KEY_VARIABLES)
        if self.agents_key_variable:
            raise SettingsError(
                f"{self.agents_key_variable} holds a key of Luma's Agents API, which this version does not speak yet. "
                f"Nothing was sent. Set LUMA_API_KEY to a Dream Machine key ({DREAM_MACHINE_KEYS_PAGE})."
            )
        self.require(AGENTS_KEY_VARIABLE)
        raise SettingsError(
            "No Luma API key is set. Nothing was sent. Put LUMA_API_KEY into this server's env in your client's MCP "
            f"configuration (keys: {DREAM_MACHINE_KEYS_PAGE}) and restart it, or start it with --sandbox: free."
        )


_ON = ("on", "1", "true", "yes")
_OFF = ("off", "0", "false", "no")


def _clean_key(text: str) -> str | None:
    """The key without what is easily pasted along with it; none for a placeholder."""
    key = text.strip().strip("\"'").strip()
    if key.lower().startswith("bearer "):
        key = key[7:].strip()
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
