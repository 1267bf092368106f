"""Bits of the control and debug registers (SDM vol. 3A 2.5, vol. 3B 17.2), the latter as far as no model decides."""

from __future__ import annotations

CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE = (1 << n for n in range(6))
CR0_WP, CR0_AM, CR0_NW, CR0_CD, CR0_PG = (1 << n for n in (16, 18, 29, 30, 31))
CR0_DEFINED = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG
# What LMSW may change; PE it can only set.
CR0_MACHINE_STATUS = CR0_PE | CR0_MP | CR0_EM | CR0_TS
# What the software TLB's rights and mappings were computed from. Not PE: it changes only while there is no paging, so
# boot loaders that go to real mode and back for each call of the BIOS keep their entries
CR0_PAGING = CR0_PG | CR0_WP

# What makes PAE paging read its page-directory-pointer table again (SDM vol. 3A 4.4.1).
CR0_RELOADING = CR0_PG | CR0_CD | CR0_NW

CR4_VME, CR4_PVI, CR4_TSD, CR4_DE, CR4_PSE, CR4_PAE, CR4_MCE, CR4_PGE, CR4_PCE = (1 << n for n in range(9))
CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_FSGSBASE = 1 << 9, 1 << 10, 1 << 16
# What the software TLB's rights and mappings were computed from.
CR4_PAGING = CR4_PSE | CR4_PAE | CR4_PGE

# IA32_EFER (SDM vol. 3A 2.2.1). LMA is not written: it is LME while there is paging.
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = (1 << n for n in (0, 8, 10, 11))

DR6_BD, DR6_BS, DR6_BT = 1 << 13, 1 << 14, 1 << 15
DR6_WRITABLE, DR6_FIXED = 0xE00F, 0xFFFF_0FF0
DR7_GD = 1 << 13
DR7_ENABLED = 0xFF  # L0 G0 to L3 G3
DR7_LOCAL = 0x155  # L0 to L3 and LE: what a task switch clears
DR7_WRITABLE, DR7_FIXED = 0xFFFF_23FF, 0x400
