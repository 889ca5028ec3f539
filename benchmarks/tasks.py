"""What tasks cost: `tasks/get` beyond Luma's own answer, and what two hundred open ones do to other requests."""

import time

import httpx
import lumaai

from luma_mcp_server.sandbox import SANDBOX_KEY

from .harness import OURS, Figure, Server, elapsed_ms, medians, sandbox, table

TASKS, ASKED, PINGS = 200, 40, 300


def light_ms(server: Server) -> float:
    """Median of the lightest request that this version of the protocol has."""
    [took] = medians(PINGS, lambda: elapsed_ms(lambda: server.ask("prompts/list")))
    return took


def buy(server: Server, number: int) -> str:
    """Buy a job that never ends, and give its task."""
    arguments = {"prompt": f"[sandbox:stuck] {number}", "wait_s": 0}
    return server.ask("tools/call", name="generate_video", arguments=arguments)["taskId"]


def measure() -> list[Figure]:
    with sandbox(limits=False, balance_usd=1000.0) as environ:
        environ |= {"LUMA_MCP_BUDGET_USD": "off", "LUMA_MCP_WAIT_S": "1"}
        with Server(*OURS, tasks=True, **environ) as server, httpx.Client(trust_env=False) as http:
            sdk = lumaai.LumaAI(auth_token=SANDBOX_KEY, base_url=environ["LUMAAI_BASE_URL"], http_client=http)
            idle = light_ms(server)
            ids = [buy(server, number) for number in range(TASKS)]
            for task_id in ids[:ASKED]:  # the first answer is news, and written down: twice in the life of a job
                server.ask("tasks/get", taskId=task_id)
            time.sleep(2.1)
            ours, theirs = iter(ids[:ASKED]), iter(ids[:ASKED])
            through, alone = medians(
                ASKED,
                lambda: elapsed_ms(lambda: server.ask("tasks/get", taskId=next(ours))),
                lambda: elapsed_ms(lambda: sdk.generations.get(next(theirs))),
            )
            [again] = medians(ASKED, lambda: elapsed_ms(lambda: server.ask("tasks/get", taskId=ids[ASKED - 1])))
            asked = [server.send("tasks/get", taskId=task_id) for task_id in ids]
            busy = light_ms(server)
            for number in asked:
                server.answer(number)
    note = f"{through:.1f} ms, {alone:.1f} ms by lumaai alone; {again:.1f} ms again within two seconds"
    slower = f"{busy:.2f} ms while all are asked about at once, {idle:.2f} ms without"
    return [
        Figure("added to a tasks/get", through - alone, "ms", at_most=3, note=note),
        Figure(f"a request with {TASKS} open tasks, to one without", busy / idle, at_most=3, note=slower),
    ]


if __name__ == "__main__":
    print(table(measure()))
