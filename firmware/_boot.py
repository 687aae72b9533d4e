# Runs at each start of Python, before the prompt: the file system, package hv and,
# on the first start, the partition. Its names would be the prompt's, so it keeps none.
def _boot():
    import os
    import sys

    import _hv
    import vfs

    class RAMDisk:
        """Block device over memory that a soft reset leaves alone."""

        BLOCK = 4096

        def __init__(self):
            self.memory = memoryview(_hv.ramdisk())

        def readblocks(self, block, buffer, offset=0):
            at = block * self.BLOCK + offset
            buffer[:] = self.memory[at : at + len(buffer)]

        def writeblocks(self, block, buffer, offset=0):
            at = block * self.BLOCK + offset
            self.memory[at : at + len(buffer)] = buffer

        def ioctl(self, operation, argument):
            if operation == 4:  # number of blocks
                return len(self.memory) // self.BLOCK
            if operation == 5:  # size of a block
                return self.BLOCK
            return 0  # init, deinit, sync, erase

    disk = RAMDisk()
    try:
        files = vfs.VfsLfs2(disk)
    except OSError:
        vfs.VfsLfs2.mkfs(disk)
        files = vfs.VfsLfs2(disk)
    vfs.mount(files, "/")
    os.chdir("/")
    sys.path.append("/lib")

    import __main__
    import hv

    try:
        if _hv.first_start():
            hv._start()
        hv._init(__main__.__dict__)
    except Exception as error:
        sys.print_exception(error)


_boot()
del _boot
