"""Symbols between the interpreter and units of 64-bit code: handlers of records, and what kills units."""

from __future__ import annotations

from bt.codegen.abi import handler, native
from bt.codegen.value import PTR

COUNT = handler("interp_long_count")  # handler of records that are counted
ENTER = handler("interp_long_enter")  # the unit at host address "free" begins at `record`
LEAVE_UNIT = handler("interp_long_leave")  # a unit goes on at `record` in the interpreter
LEAVE_TO = handler("interp_long_leave_to")  # and at the address in "free"
LEAVE_NEIGHBOURS = handler("interp_long_leave_neighbours")  # as LEAVE_UNIT: of the LONG_UNIT in `scratch`
LEAVE_SAMPLED = handler("interp_long_leave_sampled")  # the same, at its head: the budget does not do
PREPARE_FP = handler("interp_long_prepare_fp")  # a unit wants FP instructions ready; it goes on at host address "free"
KILL_LONG_UNITS = native("kill_long_units", PTR, PTR)  # those with code from a block
