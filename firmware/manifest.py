# Python code that is part of the monitor's image.
include("$(MPY_DIR)/extmod/asyncio")
module("_boot.py")
module("_leave.py")
module("machine.py", base_path="modules")
package("hv")
