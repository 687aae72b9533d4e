"""Handlers that are coroutines: the vCPU waits until they are through, others go on.

Where asyncio runs already (asyncio.run() at the prompt) they are its tasks; otherwise
its queue is stepped here, between bytecodes and when the prompt is idle.
"""

import _hv
from hv import exits, timers

TICK = 5  # milliseconds between looks at the queue when nothing of it is due

_waiting = []  # exits whose coroutine is not through


async def _through(x, coroutine):
    try:
        await coroutine
    except BaseException as e:
        exits.failed(x, e)
        return
    finally:
        _waiting.remove(x)
    if x.waits() and not x.done():
        exits.unanswered(x)


def run(x, coroutine):
    """Goes on with a handler that returned a coroutine."""
    import asyncio

    x.untimed()
    _waiting.append(x)
    asyncio.create_task(_through(x, coroutine))
    step()


def step():
    """Runs what is due of asyncio's queue, unless asyncio.run() does."""
    import asyncio
    from time import ticks_diff

    core = asyncio.core
    queue = core._task_queue
    more = False
    left = TICK
    while core.cur_task is None:
        task = queue.peek()
        more = task is not None
        if not more:
            break
        left = ticks_diff(task.ph_key, core.ticks())
        if left > 0:
            break
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
    # What a coroutine waits for may come from anywhere: the prompt, a handler, a timer; and
    # asyncio.run() may end before it.
    if more or any([x.waits() for x in _waiting]):
        timers.after("asyncio", min(left, TICK), step)


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
