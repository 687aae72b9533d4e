"""Handlers that are coroutines: the vCPU waits until they are through, others go on.

Where asyncio runs already (asyncio.run() at the prompt) they are its tasks; otherwise
its queue is stepped here, between bytecodes and when the prompt is idle.
"""

import _hv
from hv import exits, timers

TICK = 5  # milliseconds between looks at the queue when a timer of it is far


async def _through(x, coroutine):
    try:
        await coroutine
    except BaseException as e:
        exits.failed(x, e)
        return
    if x.waits() and not x.done():
        exits.unanswered(x)


def run(x, coroutine):
    """Goes on with a handler that returned a coroutine."""
    import asyncio

    x.untimed()
    running = asyncio.core.cur_task
    asyncio.create_task(_through(x, coroutine))
    if running is None:
        step()


def step():
    """Runs what is due of asyncio's queue."""
    import asyncio
    from time import ticks_diff

    core = asyncio.core
    queue = core._task_queue
    while core.cur_task is None:
        task = queue.peek()
        if task is None:
            return
        left = ticks_diff(task.ph_key, core.ticks())
        if left > 0:
            timers.after("asyncio", min(left, TICK), step)
            return
        queue.pop()
        core.cur_task = task
        try:
            data = task.data
            if not data:
                _hv.interruptible(task.coro.send, None)
            else:
                task.data = None
                _hv.interruptible(task.coro.throw, data)
        except BaseException as e:
            _ended(task, e)
        finally:
            core.cur_task = None


def _ended(task, error):
    """As asyncio's own loop has it for a task that came to its end."""
    task.data = error
    waiting = task.state
    task.state = None
    if waiting is True or not waiting:
        return
    if callable(waiting):
        waiting(task, error)
        return
    import asyncio

    while waiting.peek():
        asyncio.core._task_queue.push(waiting.pop())
