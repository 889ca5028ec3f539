"""Whatever goes wrong between a client, the server, its journal and Luma: no job is lost, bought twice or over budget.

Each story is a function of its seed alone: what is asked for, by how many clients, what fails, and when who is cut off.
Only the machine's own timing differs from run to run. Afterwards the sandbox's account book is compared with the
journal. A few stories are told in each run; `-m long` tells all; a failing one names the command that tells it again.
"""

import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Client, Tally, World

APIS = ("agents", "dream_machine")
SEEDS = 500
ALWAYS = {
    "agents": (220, 236, 255, 257, 283, 290, 298, 305, 311, 316),
    "dream_machine": (146, 165, 192, 196, 213, 222, 229, 232, 239, 261),
}
"""Seeds that every run tells: quick ones that differ in what they meet."""

DAY_S, WINDOW_S = 24 * 3600.0, 15 * 60.0
POST_S = 40.0
"""A job is taken at most so long after its row was written: the windows of rows and of jobs differ by that."""

TAGS = ("", "[sandbox:fail] ", "[sandbox:moderation] ", "[sandbox:stuck] ", "[sandbox:budget] ", "[sandbox:rate] ")
TAGS += ("[sandbox:credits] ", "[sandbox:concurrency] ")
KEY = re.compile(rb"luma-sandbox-key|luma-api-sandbox-key")
LOOKS = ("list_generations", "list_generations", "get_account", "wait_for_generations")
URL_FIELDS = ("video_url", "image_url", "thumbnail_url", "url")
PAID = ("submitting", "unknown")


@dataclass(frozen=True)
class Ask:
    """One call: which of the story's wishes, at which server."""

    wish: int
    take: int
    wait_s: float | None
    server: int


@dataclass(frozen=True)
class Round:
    """Calls that are made at once, and what happens to them.

    Attributes:
        faults: what will fail from now on.
        asks: the calls.
        looks: free calls beside them: a tool, and at which server.
        moment: what is waited for then: so many ``posts`` that reached Luma, or ``answers`` that came.
        delay_s: and then so long.
        then: ``wait`` for all answers, ``cancel`` the calls in `whom`, or end the servers in `whom`.
        again: how often the impatient client makes the same calls anew, one after the other (True) or at once.
        passes_s: time that passes afterwards; all servers are ended for it.
    """

    faults: tuple[dict[str, Any], ...]
    asks: tuple[Ask, ...]
    looks: tuple[tuple[str, int], ...]
    moment: tuple[str, int]
    delay_s: float
    then: str
    whom: tuple[int, ...]
    again: tuple[bool, ...]
    passes_s: float


@dataclass(frozen=True)
class Story:
    """Everything that is decided before it begins."""

    api: str
    seed: int
    folder: str
    """The journal's: ``good``, ``unusable`` from the beginning, or ``full`` after a while."""

    file_blocks: int | None
    servers: int
    environ: dict[str, str]
    job_s: float
    wishes: tuple[tuple[str, dict[str, Any]], ...]
    rounds: tuple[Round, ...]
    tasks: bool
    """Whether the clients declare tasks."""

    @property
    def name(self) -> str:
        return f"{self.api}-{self.seed:03}"

    @property
    def wait_s(self) -> float:
        return float(self.environ["LUMA_MCP_WAIT_S"])

    @property
    def budget_cents(self) -> float:
        return float(self.environ.get("LUMA_MCP_BUDGET_USD", "20")) * 100

    def __str__(self) -> str:
        head = (
            f"{self.servers} server(s), {self.folder} folder {self.file_blocks or ''}, {self.environ}, {self.job_s} s"
            f"{', tasks' if self.tasks else ''}"
        )
        lines = [self.name, head, *(f"wish {number}: {wish}" for number, wish in enumerate(self.wishes))]
        for number, one in enumerate(self.rounds):
            lines += [f"round {number}:", *(f"    fault {fault}" for fault in one.faults)]
            lines += [f"    {ask}" for ask in (*one.asks, *one.looks)]
            lines.append(f"    after {one.moment} + {one.delay_s} s: {one.then} {one.whom or ''}, again {one.again}")
            lines.append(f"    {one.passes_s} s pass")
        return "\n".join(lines)


# Making a story up


def story(api: str, seed: int) -> Story:
    dice = random.Random(f"{api}-{seed}")
    [folder] = dice.choices(["good", "unusable", "full"], [84, 6, 10])
    servers = dice.choices([1, 2], [60, 40])[0] if folder == "good" else 1
    environ = {
        "LUMA_MCP_WAIT_S": dice.choices(["0.5", "1", "2", "3"], [10, 8, 3, 1])[0],
        "LUMA_MCP_SAVE": dice.choices(["off", "on"], [85, 15])[0],
    }
    if budget := dice.choices([None, "1.0", "2.0"], [70, 15, 15])[0]:
        environ["LUMA_MCP_BUDGET_USD"] = budget
    wishes = tuple(wish(dice, api, number) for number in range(dice.randint(1, 3)))
    if len(wishes) > 1 and random.Random(f"{api}-{seed}-twins").random() < 0.4:
        tool, arguments = wishes[0]
        wishes = (*wishes[:-1], (tool, arguments | {"aspect_ratio": "9:16"}))  # the same but for one option
    return Story(
        api,
        seed,
        folder,
        file_blocks=dice.choice([40, 80, 120, 160, 240, 320, 480]) if folder == "full" else None,
        servers=servers,
        environ=environ,
        job_s=dice.choice([0.2, 0.5, 1.0]),
        wishes=wishes,
        rounds=tuple(_round(dice, api, folder, servers, len(wishes)) for _ in range(dice.choice([1, 2, 2, 3]))),
        tasks=seed % 3 == 1,
    )


def wish(dice: random.Random, api: str, number: int) -> tuple[str, dict[str, Any]]:
    """A tool and its arguments. Prompt and shape tell one wish from the others, wherever they turn up: see `_named`."""
    [tag] = dice.choices(TAGS, [58, 8, 6, 8, 5, 5, 5, 5])
    arguments: dict[str, Any] = {"prompt": f"{tag}a lake, number {number}"}
    if dice.random() < 0.5:
        arguments |= dice.choice([{}, {"aspect_ratio": "1:1"}])
        return "generate_image", arguments
    draft = {"resolution": "360p"} if api == "agents" else {"resolution": "540p", "model": "ray-flash-2"}
    return "generate_video", arguments | dice.choice([draft, {}])  # without it: the price of a budget's half


def _round(dice: random.Random, api: str, folder: str, servers: int, wishes: int) -> Round:
    def ask(number: int, take: int) -> Ask:
        wait_s = dice.choices([0, 0.5, 1, 2.5, None], [88, 5, 3, 2, 2])[0]
        return Ask(number, take, wait_s, dice.randrange(servers))

    one = dice.randrange(wishes)
    style = dice.choice(["same", "takes", "mixed"])
    if style == "same":
        asks = [ask(one, 1) for _ in range(dice.randint(1, 4))]
    elif style == "takes":
        asks = [ask(one, take) for take in (1, 2, 3, 4)]
    else:
        asks = [ask(dice.randrange(wishes), dice.choice([1, 1, 2])) for _ in range(dice.randint(2, 5))]
    ways = {"wait": 40, "cancel": 25, "kill": 20, "term": 8, "eof": 7}
    [then] = dice.choices(list(ways), list(ways.values()))
    number = len(asks) if then == "cancel" else servers
    whom = tuple(sorted(dice.sample(range(number), dice.randint(1, number)))) if then != "wait" else ()
    passes = dice.random() < 0.35
    return Round(
        faults=tuple(_fault(dice, api) for _ in range(dice.choices([0, 1, 2, 3], [25, 40, 20, 15])[0])),
        asks=tuple(asks),
        looks=tuple((dice.choice(LOOKS), dice.randrange(servers)) for _ in range(dice.choice([0, 0, 1, 2]))),
        moment=dice.choice([("posts", 0), ("posts", 1), ("posts", len(asks)), ("answers", 1)]),
        delay_s=dice.choice([0.0, 0.0, 0.005, 0.02, 0.1, 0.3]),
        then=then,
        whom=whom,
        again=dice.choices([(), (True,), (False,), (True, True)], [3, 4, 2, 2])[0],
        passes_s=dice.choice([5.0, 61.0, 95.0, 95.0, 150.0, 700.0, 1000.0, 4000.0, 90000.0]) if passes else 0.0,
    )


def _fault(dice: random.Random, api: str) -> dict[str, Any]:
    """One that Luma, or the way there, may have. A job is never taken behind a refusal, nor invented."""
    base = "/v1" if api == "agents" else "/dream-machine/v1"
    wait = {"headers": {"Retry-After": "1"}}
    after = dice.random() < 0.5
    broken = {"kind": "status", "status": dice.choice([500, 502, 503, 504]), "detail": "Internal error"}
    if dice.random() < 0.3:
        fault = dice.choice(
            [
                broken,
                {"kind": "status", "status": 429, "detail": "Rate limit exceeded", **dice.choice([wait, {}])},
                {"kind": "slow", "pause": 0.001},
                *({"kind": kind} for kind in ("html", "cut", "hang", "drop", "empty", "null")),
            ]
        )
        path = dice.choice(["/generations", "/generations", "/media/"])
        return {"method": "GET", "path": path, "times": dice.choice([1, 2, 4]), **fault}
    lost: list[dict[str, Any]] = [{"kind": kind, "after": after} for kind in ("drop", "html", "cut", "empty", "null")]
    fault = dice.choice(
        [
            *lost,
            {"kind": "drop", "after": after},
            {"kind": "hang", "after": after},
            {"kind": "slow", "after": True, "pause": 0.001},
            {"kind": "redirect", "detail": f"{base}/generations", "after": after},
            {**broken, "after": after},
            {**broken, "after": after},
            {"kind": "status", "status": dice.choice([408, 409]), "detail": "Conflict", "after": after},
            {"kind": "status", "status": 429, "detail": "Rate limit exceeded", **wait},
            {
                "kind": "status",
                "status": 429,
                "detail": dice.choice(["Rate limit exceeded", "Too many concurrent jobs"]),
            },
            {"kind": "status", "status": dice.choice([400, 402, 403, 422]), "detail": "No"},
        ]
    )
    return {"path": f"{base}/generations", "times": dice.choice([1, 1, 1, 2, 3]), **fault}


# Telling it


@dataclass
class Telling:
    """A story on its way.

    Attributes:
        servers: those of now; none where one has been ended.
        asked: every call that was made to buy: its server, its number there, and what it was.
        looked: the same of the free ones.
        tasks: how each task stood in the end, when its job had ended.
        cancelled: the calls that nobody waits for any more.
        wrong: what must not be.
    """

    story: Story
    world: "World"
    servers: "list[Client | None]" = field(default_factory=list)
    asked: "list[tuple[Client, int, Ask]]" = field(default_factory=list)
    looked: "list[tuple[Client, int, str]]" = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)
    cancelled: "set[tuple[Client, int]]" = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def tell(self) -> None:
        self.servers = [None] * self.story.servers
        for one in self.story.rounds:
            self._round(one)
        # In the end everything is asked for once more, which must not buy again what was bought.
        wanted = dict.fromkeys((ask.wish, ask.take) for _, _, ask in self.asked)
        self._call([Ask(*one, wait_s=0, server=place % len(self.servers)) for place, one in enumerate(wanted)])
        self._wait(self._look("list_generations", place) for place in range(len(self.servers)))
        self._ask_tasks()
        self._end(range(len(self.servers)), "eof")

    def _ask_tasks(self) -> None:
        """Ask how every task stands, of servers that may not have made it."""
        made = [result["taskId"] for _, result in _results((*self.asked, *self.looked)) if "taskId" in result]
        if not made:
            return
        self.world.pause(self.story.job_s)
        for place, task_id in enumerate(dict.fromkeys(made)):
            client = self.servers[place % len(self.servers)]
            assert client
            for _ in range(8):  # faults that are left over may hit the questions
                asked = client.ask("tasks/get", taskId=task_id)
                if not client.wait([asked]):
                    self.wrong.append(f"no answer about the task {task_id}")
                    break
                answer = client.answers[asked]
                self.tasks[task_id] = answer["result"]["status"] if "result" in answer else answer["error"]["message"]
                if self.tasks[task_id] == "completed" or "[sandbox:stuck]" in str(self.story.wishes):
                    break
                self.world.pause(0.5)

    def _round(self, one: Round) -> None:
        self._start()
        before = self.world.posts()
        if one.faults:
            self.world.fault(*one.faults)
        calls = self._begin(one.asks)
        looks = [self._look(*look) for look in one.looks]
        if one.then not in ("wait", "cancel") or one.passes_s:
            self.world.warm_up(len(self.servers) if one.passes_s else len(one.whom))
        if one.then != "wait":
            kind, least = one.moment
            seen = {"posts": lambda: self.world.posts() - before >= least, "answers": lambda: self._answers(calls) > 0}
            self.world.until(lambda: seen[kind]() or self._answers(calls) == len(calls), 1.0)
            self.world.pause(one.delay_s)
        if one.then == "cancel":
            for client, number, _ in (calls[place] for place in one.whom):
                client.cancel(number)
                self.cancelled.add((client, number))
        elif one.then != "wait":
            self._end(one.whom, one.then)
        if one.then != "cancel":  # the impatient one calls again beside what still runs
            self._wait(calls)
        for at_once in one.again:
            asks = [replace(ask, wait_s=0) for ask in one.asks]
            self._call(asks if at_once else dict.fromkeys(asks), at_once=at_once)
        self._wait([*calls, *looks])
        if one.passes_s:
            self._end(range(len(self.servers)), "eof")
            self.world.pass_time(one.passes_s)

    def _start(self) -> None:
        new = [place for place, client in enumerate(self.servers) if client is None]
        for place in new:
            self.servers[place] = self.world.start()
        for place in new:
            client = self.servers[place]
            assert client
            client.shake_hands()

    def _begin(self, asks: Iterable[Ask]) -> "list[tuple[Client, int, Ask]]":
        calls = []
        for ask in asks:
            client = self.servers[ask.server]
            assert client
            tool, arguments = self.story.wishes[ask.wish]
            more = {"take": ask.take if ask.take > 1 else None, "wait_s": ask.wait_s}
            given = arguments | {name: value for name, value in more.items() if value is not None}
            calls.append((client, client.ask("tools/call", name=tool, arguments=given), ask))
        self.asked += calls
        return calls

    def _look(self, tool: str, server: int) -> "tuple[Client, int, str]":
        client, arguments = self.servers[server], {}
        assert client
        if tool == "wait_for_generations":
            told = [content for _, content in _contents(self.asked)]
            names = dict.fromkeys(content.get("generation_id") or content["request_id"] for content in told)
            tool, arguments = (tool, {"generation_ids": list(names)[-50:]}) if names else ("get_account", {})
        elif tool == "list_generations":
            arguments = {"limit": 100}
        self.looked.append((client, client.ask("tools/call", name=tool, arguments=arguments), tool))
        return self.looked[-1]

    def _answers(self, calls: "list[tuple[Client, int, Ask]]") -> int:
        return sum(number in client.answers for client, number, _ in calls)

    def _wait(self, calls: "Iterable[tuple[Client, int, Ask | str]]") -> None:
        for client, number, ask in calls:
            if not client.ended and (client, number) not in self.cancelled and not client.wait([number]):
                state = "the server has gone" if client.process.poll() is not None else "nothing came"
                raise AssertionError(f"no answer to {ask}: {state}: {client.errors.read_text()}")

    def _call(self, asks: Iterable[Ask], *, at_once: bool = True) -> None:
        self._start()
        for some in [tuple(asks)] if at_once else [(ask,) for ask in asks]:
            self._wait(self._begin(some))

    def _end(self, places: Iterable[int], how: str) -> None:
        ending = [client for place in places if (client := self.servers[place])]
        for client in ending:
            client.tell_to_end(how)
        for client in ending:
            if not client.has_ended():
                self.wrong.append(f"a server did not end by {how}")
        self.servers = [None if client in ending else client for client in self.servers]


# Judging it


class Judge:
    """Compares what a story led to with what may be."""

    def __init__(self, telling: Telling) -> None:
        self.story, self.world, self.asked = telling.story, telling.world, telling.asked
        self.tasks = telling.tasks
        self.wrong = telling.wrong
        self.world.clock.ahead += DAY_S  # what will be refunded is
        state = self.world.state()
        self.ledger: list[dict[str, Any]] = state["ledger"]
        self.jobs: dict[str, dict[str, Any]] = {job["id"]: job for job in state["jobs"]}
        self.requests: list[dict[str, Any]] = state["requests"]
        self.rows = self.world.rows()
        self.results, self.told = list(_results(self.asked)), list(_contents(self.asked))
        self.looked = list(_results(telling.looked))
        answers = [client.answers.get(number, {}) for client, number, _ in (*self.asked, *telling.looked)]
        self.errors = [answer["error"] for answer in answers if "error" in answer]

    def verdict(self) -> list[str]:
        self._every_job_is_known()
        self._every_purchase_is_listed()
        self._nothing_is_bought_twice()
        self._the_budget_is_kept()
        self._tasks_tell_of_their_ends()
        self._nothing_broke()
        self._nothing_is_told()
        return self.wrong

    def met(self) -> Counter[str]:
        """What the story led to, for the record."""
        seen = Counter(f"rows {row['status']}" for row in self.rows)
        seen["calls answered"] = len(self.results)
        seen["jobs"] = len(self.jobs)
        seen["tasks"] = len(self.tasks)
        seen["servers"] = len(self.world.clients)
        seen["requests"] = len(self.requests)
        seen["refusals by budget"] = sum("LUMA_MCP_BUDGET_USD" in _text(result) for _, result in self.results)
        seen["answers reused"] = sum(content.get("reused", False) for _, content in self.told)
        seen["answers unknown"] = sum(content["state"] == "unknown" for _, content in self.told)
        return seen

    def _check(self, fine: object, words: str) -> None:
        if not fine:
            self.wrong.append(words)

    def _wish(self, ask: Ask) -> str:
        return _named(self.story.wishes[ask.wish][1])

    def _every_job_is_known(self) -> None:
        known = {row["generation_id"]: row for row in self.rows if row["generation_id"]}
        charged = [job for job in self.jobs.values() if job["cents"] > job["refunded_cents"]]
        self._check(len(known) == sum(row["generation_id"] is not None for row in self.rows), "one id in two rows")
        lost = Counter(_wish_of(job) for job in charged if job["id"] not in known)
        open_rows = Counter(_wish_of(row) for row in self.rows if row["status"] in PAID)
        kinds = {one.then for one in self.story.rounds} | {f["kind"] for one in self.story.rounds for f in one.faults}
        if self.story.folder == "good" and kinds.isdisjoint({"kill", "term", "hang"}):
            # A server whose client closes stdin first notes what Luma answers.
            cut_off = [row["id"] for row in self.rows if row["status"] == "submitting"]
            self._check(not cut_off, f"nobody noted Luma's answer to {cut_off}")
        for name, number in lost.items():
            self._check(
                number <= open_rows[name],
                f"{number} job(s) charged for {name!r} that nobody knows, {open_rows[name]} row(s) may be",
            )
        for name, row in known.items():
            job = self.jobs.get(name)
            if job is None or _wish_of(job) != _wish_of(row):
                self.wrong.append(f"row {row['id']} has generation {name}, which is no such job")
                continue
            self._check(
                row["max_usd"] * 100 >= job["cents"] - 0.01,
                f"{name} cost {job['cents']} cents, the row: {row['max_usd']}",
            )
            if self.story.api == "agents":
                self._check(
                    job["request_id"] == row["id"], f"{name} was bought by {job['request_id']}, not {row['id']}"
                )

    def _every_purchase_is_listed(self) -> None:
        """The last calls of a story list all, whether Luma's list could be read or not."""
        if self.story.folder != "good":
            return  # the list says that the journal is missing
        lists = [result for tool, result in self.looked if tool == "list_generations"]
        for result in lists[-self.story.servers :]:
            told = (result.get("structuredContent") or {"generations": []})["generations"]
            listed = {name for one in told for name in (one.get("generation_id"), one.get("request_id"))}
            rows = [row for row in self.rows if row["status"] != "rejected"]
            # A row may have been reconciled since, by the task that was asked last.
            missing = [row for row in rows if not {row["generation_id"], row["id"]} & listed]
            self._check(not missing, f"not listed: {missing}, but {_text(result)}")

    def _nothing_is_bought_twice(self) -> None:
        takes = defaultdict[str, set[int]](set)
        for _, _, ask in self.asked:
            takes[self._wish(ask)].add(ask.take)
        by_wish = defaultdict[str, list[float]](list)
        for job in self.jobs.values():
            if job["state"] != "failed":
                by_wish[_wish_of(job)].append(job["created_at"])
        for name, times in by_wish.items():
            most = _most_within(WINDOW_S - POST_S, times)
            self._check(most <= len(takes[name]), f"{name!r} bought {most} times, for takes {sorted(takes[name])}")

        # Where the row of a job is certain, so is what makes it the same purchase as another.
        rows = {name: row for row in self.rows for name in (row["generation_id"], row["id"]) if name}
        by_key = defaultdict[tuple[str, int], list[dict[str, Any]]](list)
        for job in self.jobs.values():
            if job["state"] != "failed" and (row := rows.get(job["id"]) or rows.get(job["request_id"])):
                by_key[row["idempotency_key"], row["take"]].append(job)
        for jobs in by_key.values():
            times = sorted(job["created_at"] for job in jobs)
            self._check(_most_within(WINDOW_S - POST_S, times) == 1, f"one key bought twice: {jobs}")

        sent = Counter(one["request_id"] for one in self.requests if one["method"] == "POST" and one["request_id"])
        taken = Counter(job["request_id"] for job in self.jobs.values() if job["request_id"])
        self._check(set(taken.values()) <= {1}, f"one purchase taken twice: {taken}, {sent}")

    def _the_budget_is_kept(self) -> None:
        spent: list[tuple[str, float, float]] = []
        for line in self.ledger:
            if line["kind"] == "refund":
                spent = [one for one in spent if one[0] != line["job_id"]]
                continue
            spent.append((line["job_id"], line["at"], line["cents"]))
            day = sum(cents for _, at, cents in spent if at > line["at"] - DAY_S + POST_S)
            self._check(day <= self.story.budget_cents + 0.01, f"{day} cents spent in a day")
        self._check(self.story.folder != "unusable" or not self.ledger, "bought without a journal")

    def _tasks_tell_of_their_ends(self) -> None:
        """No finished job has a task that does not say so, whichever server is asked."""
        if self.story.folder != "good":
            return
        rows = {name: row for row in self.rows for name in (row["generation_id"], row["id"]) if name}
        for task_id, status in self.tasks.items():
            names = task_id.removeprefix("wait:").split(",")
            self._check(all(name in rows for name in names), f"the task {task_id} is no purchase's")
            jobs = [self.jobs.get(rows[name]["generation_id"]) for name in names if name in rows]
            ended = all(job and job["state"] in ("completed", "failed") for job in jobs)
            self._check(not ended or status == "completed", f"the task {task_id} is {status!r}, its jobs have ended")
            self._check(status in ("working", "completed"), f"the task {task_id}: {status}")

    def _nothing_broke(self) -> None:
        for client in self.world.clients:
            said = client.errors.read_text()
            self._check("Traceback" not in said, f"stderr: {said}")
            self._check(client.process.returncode is not None, "a process is left behind")
        self._check(not self.errors, f"errors of the protocol: {self.errors}")
        for what, result in (*self.results, *self.looked):
            text = _text(result)
            self._check("itself failed" not in text and "Traceback" not in text, f"{what}: {text}")
        for ask, result in self.results:
            if self.story.folder == "unusable":
                self._check("journal" in _text(result), f"{ask}: no word of the journal: {_text(result)}")

    def _nothing_is_told(self) -> None:
        for client in self.world.clients:
            for line in client.lines:
                self._check(not KEY.search(line), f"the key is on stdout: {line[:500]!r}")
                self._check(b"Signature=" not in _without_links(line), f"a signed link is on stdout: {line[:500]!r}")
        for path in self.world.files():
            data = path.read_bytes() + str(path).encode()
            self._check(not KEY.search(data) and b"Signature=" not in data, f"a secret is in {path.name}")
        journal = self.world.journal
        strangers = {path.name for path in self.world.files() if path.parent == journal.parent}
        strangers -= {journal.name, f"{journal.name}-journal"}  # SQLite's own file beside one that was killed
        self._check(not strangers, f"beside the journal lie {strangers}")


Q = TypeVar("Q", Ask, str)


def _results(calls: "Iterable[tuple[Client, int, Q]]") -> Iterator[tuple[Q, dict[str, Any]]]:
    """What calls were answered with, by what they asked for."""
    for client, number, what in calls:
        if "result" in (answer := client.answers.get(number, {})):
            yield what, answer["result"]


def _contents(calls: "Iterable[tuple[Client, int, Q]]") -> Iterator[tuple[Q, dict[str, Any]]]:
    """Only what they were answered with that is no error."""
    for what, result in _results(calls):
        if content := result.get("structuredContent"):
            yield what, content


def _wish_of(what: dict[str, Any]) -> str:
    """The wish that a job or a row is of."""
    request = what["request"]
    return _named(json.loads(request) if isinstance(request, str) else request)


def _named(request: dict[str, Any]) -> str:
    return f"{request['prompt']} ({request.get('aspect_ratio', '16:9')})"


def _text(result: dict[str, Any]) -> str:
    return " ".join(block.get("text", "") for block in result.get("content", ()))


def _most_within(seconds: float, times: list[float]) -> int:
    """The most of these times that lie within one span."""
    return max((sum(first <= one < first + seconds for one in times) for first in times), default=0)


def _without_links(line: bytes) -> bytes:
    """A line of stdout without the links that a generation's result may give."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(one) for name, one in value.items() if name not in URL_FIELDS}
        if isinstance(value, list):
            return [bare(one) for one in value]
        if isinstance(value, str) and value.startswith("{"):
            return bare(json.loads(value))
        return value

    try:
        return json.dumps(bare(json.loads(line))).encode()
    except ValueError:  # half a line, of a process that was killed
        return b"" if not line.endswith(b"\n") else line


STORIES = [
    pytest.param(api, seed, id=f"{api}-{seed:03}", marks=() if seed in ALWAYS[api] else pytest.mark.long)
    for api in APIS
    for seed in range(SEEDS)
]


@pytest.mark.parametrize(("api", "seed"), STORIES)
def test_no_job_is_lost_or_bought_twice_whatever_fails(
    api: str, seed: int, build: "Callable[..., World]", tally: "Tally"
) -> None:
    told = story(api, seed)
    unusable = told.folder == "unusable"
    world = build(api, told.environ, told.job_s, unusable=unusable, file_blocks=told.file_blocks, tasks=told.tasks)
    telling = Telling(told, world)
    began = time.monotonic()
    try:
        telling.tell()
        judge = Judge(telling)
        assert not judge.verdict(), "\n".join(judge.wrong)
    except Exception as error:
        error.add_note(f"{told}\n\nTell it again: uv run pytest -m '' -k {told.name}")
        raise
    tally.times.append(time.monotonic() - began)
    tally.late += [(took - told.wait_s, told.name) for client in world.clients for took in client.took.values()]
    tally.met += judge.met()
