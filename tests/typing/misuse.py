"""Wrong calls: type checkers have to reject every line that is marked with E and a number.

The comments that silence them let the whole project be checked; they are refused where there is
nothing to silence. `test_misuse.py` takes them away and looks at what is reported.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from decimal import Decimal

from aiki import Client, Retry, Run, RunHandle, Worker, task
from examples.orders import (
    Approval,
    Line,
    Order,
    Receipt,
    approval,
    cancelled,
    charge,
    fulfil,
    process,
    refund,
    reserve,
)


@task
async def length(text: str) -> int:
    return len(text)


async def in_a_workflow(run: Run, order: Order) -> None:
    await charge(run, "card", "12", key="k")  # type: ignore[arg-type]  # E1 the amount must be a Decimal
    await charge("card", Decimal(1), key="k")  # type: ignore[arg-type, call-arg]  # E2 the run is forgotten
    await refund(run, "card")  # type: ignore[call-arg]  # E3 an argument is missing
    async with run.saga() as saga:
        saga.undo(refund, 1)  # type: ignore[arg-type, call-arg]  # E4 its arguments
    text: str = await length(run, "a")  # type: ignore[assignment]  # E5 the result is an int
    await run.map(reserve, ["a"])  # type: ignore[arg-type]  # E6 items are lines
    await run.wait(Approval)  # type: ignore[arg-type]  # E7 the class is not the event
    got: Order = await run.wait(approval)  # type: ignore[arg-type]  # E8 the payload is an Approval
    await run.sleep("nap", 3)  # type: ignore[arg-type]  # E9 a number is no duration
    child = await run.start(fulfil, order)  # type: ignore[arg-type]  # E10 fulfil takes lines
    tracking: list[int] = await fulfil(run, [Line("a", 1)])  # type: ignore[assignment]  # E11 wrong result
    print(text, got, child, tracking)


async def in_an_application(client: Client, handle: RunHandle[Receipt]) -> None:
    await process.enqueue(client, {"id": 1})  # type: ignore[arg-type]  # E12 not an Order
    await handle.send(approval, "yes")  # type: ignore[misc]  # E13 the payload's type
    await handle.send(cancelled, Approval(by="a", ok=True))  # type: ignore[misc]  # E14 no payload
    number: int = await handle.result()  # type: ignore[assignment]  # E15 a Receipt is no int
    process.options(on_conflict="ignore")  # type: ignore[arg-type]  # E16 no such choice
    fulfil.call("a")  # type: ignore[arg-type]  # E17 the arguments of one start are checked
    Worker(client, workflows=[charge])  # type: ignore[list-item]  # E18 a task is no workflow
    print(number)


@task(retry=Retry.fixed(3, 1))  # type: ignore[arg-type]  # E19 a number is no duration
async def once() -> None: ...
