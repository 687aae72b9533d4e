# Runs at each start of Python, before the prompt: the file system, package hv and,
# on the first start, the partition.
import vfs

import _hv

BLOCK = 4096


class RAMDisk:
    """Block device over memory that a soft reset leaves alone."""

    def __init__(self, memory):
        self.memory = memory

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        buffer[:] = memoryview(self.memory)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        memoryview(self.memory)[at : at + len(buffer)] = buffer

    def ioctl(self, operation, argument):
        if operation == 4:  # number of blocks
            return len(self.memory) // BLOCK
        if operation == 5:  # size of a block
            return BLOCK
        return 0  # init, deinit, sync, erase


def mount():
    import os
    import sys

    disk = RAMDisk(_hv.ramdisk())
    try:
        files = vfs.VfsLfs2(disk)
    except OSError:
        vfs.VfsLfs2.mkfs(disk)
        files = vfs.VfsLfs2(disk)
    vfs.mount(files, "/")
    os.chdir("/")
    sys.path.append("/lib")


def start():
    import __main__
    import hv

    if _hv.first_start():
        hv._start()
    hv._init(__main__.__dict__)


mount()
try:
    start()
except Exception as error:
    import sys

    sys.print_exception(error)
del RAMDisk, mount, start, vfs, BLOCK
