"""Bits of the control and debug registers (SDM vol. 3A 2.5, vol. 3B 17.2), and which of them this processor has."""

from __future__ import annotations

CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE = (1 << n for n in range(6))
CR0_WP, CR0_AM, CR0_NW, CR0_CD, CR0_PG = (1 << n for n in (16, 18, 29, 30, 31))
CR0_DEFINED = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG
# What LMSW may change; PE it can only set.
CR0_MACHINE_STATUS = CR0_PE | CR0_MP | CR0_EM | CR0_TS
# What the software TLB's rights and mappings were computed from.
CR0_PAGING = CR0_PE | CR0_PG | CR0_WP

CR4_VME, CR4_PVI, CR4_TSD, CR4_DE, CR4_PSE, CR4_PGE, CR4_PCE = (1 << n for n in (0, 1, 2, 3, 4, 7, 8))
# PAE, MCE and OSFXSR are reserved here: CPUID does not offer what they enable.
CR4_DEFINED = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_PCE
CR4_PAGING = CR4_PSE | CR4_PGE

DR6_BD, DR6_BS, DR6_BT = 1 << 13, 1 << 14, 1 << 15
DR6_WRITABLE, DR6_FIXED = 0xE00F, 0xFFFF_0FF0
DR7_GD = 1 << 13
DR7_LOCAL = 0x155  # L0 to L3 and LE: what a task switch clears
DR7_WRITABLE, DR7_FIXED = 0xFFFF_23FF, 0x400
