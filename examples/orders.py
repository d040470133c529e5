"""The public API in one program: tasks, events, children, a saga, and a worker in this process."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import aiki
from aiki import Retry, Run, Worker, event, is_event, task, workflow


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True)
class Order:
    id: str
    card: str
    lines: list[Line]
    total: Decimal


@dataclass(frozen=True)
class Approval:
    by: str
    ok: bool


@dataclass(frozen=True)
class Receipt:
    charge_id: str
    tracking: list[str]


approval = event("approval", Approval)  # Event[Approval]; handle.send() is checked against it
cancelled = event("cancelled")  # Event[None]


@task(
    retry=Retry.exponential(5, timedelta(seconds=1), cap=timedelta(minutes=1), jitter=0.5),
    timeout=timedelta(seconds=20),
)
async def charge(card: str, amount: Decimal, *, key: str) -> str:
    return f"charge {amount} to {card}, {key}"  # the key goes to the payment provider


@task
def refund(card: str, key: str) -> None:  # sync: runs on the worker's threads
    print(f"refunded {card}: {key}")


@task
def reserve(line: Line) -> str:
    return f"{line.quantity} x {line.sku}"


fulfilment = workflow("fulfilment")
orders = workflow("orders")


@fulfilment.version("1.0.0")
async def fulfil(run: Run, lines: list[Line]) -> list[str]:
    return await run.map(reserve, lines, concurrency=10)  # results in the order of the lines


@orders.version("1.2.0", timeout=timedelta(days=30), events=[approval, cancelled])
async def process(run: Run, order: Order) -> Receipt:
    if order.total > 1000:
        await approved(run)
    async with run.saga() as saga:  # undo runs in reverse if the block raises
        key = run.key("charge")  # the same in every replay
        saga.undo(refund, order.card, key)  # typed: the arguments of refund()
        charge_id = await charge(run, order.card, order.total, key=key)
        async with asyncio.TaskGroup() as group:  # plain asyncio; replay keeps the order
            shipping = group.create_task(fulfil(run, order.lines))  # a child workflow
            group.create_task(run.sleep("cool-off", timedelta(milliseconds=100)))
        return Receipt(charge_id=charge_id, tracking=shipping.result())


async def approved(run: Run) -> None:
    """Wait for the approval of an expensive order; part of the workflow's code."""
    try:
        got = await run.wait_any(approval, cancelled, timeout=timedelta(days=14))
    except aiki.WaitTimeout:
        raise aiki.NonRetryable("nobody approved in 14 days") from None
    if not is_event(got, approval) or not got.data.ok:
        raise aiki.NonRetryable("rejected or cancelled")
    run.logger.info("approved by %s", got.data.by)


async def main(url: str) -> None:
    async with aiki.connect(url) as client:
        worker = asyncio.create_task(Worker(client, workflows=[process, fulfil]).run())
        order = Order("o-1", "card-1", [Line("apple", 2), Line("pear", 1)], Decimal(1200))
        handle = await process.options(reference_id=order.id, priority=3).enqueue(client, order)
        await handle.send(approval, Approval(by="ada", ok=True), key="approval-1")  # once
        receipt = await handle.result(timeout=timedelta(minutes=1))
        print(receipt.charge_id)
        print(*receipt.tracking, sep="\n")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(f"sqlite:///{Path(folder, 'orders.db')}"))
