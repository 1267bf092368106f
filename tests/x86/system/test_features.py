"""What CPUID shows is what the instruction table and the control registers have."""

from __future__ import annotations

from bt.x86.opcodes import FORMS
from bt.x86.system import control_registers as cr
from bt.x86.system.cpuid import FEATURES, LEAVES


def test_forms_that_ask_for_a_feature_have_it() -> None:
    assert {form.cpuid for form in FORMS if form.cpuid} <= FEATURES.keys()


def test_cr4_has_the_bits_of_the_features_shown() -> None:
    """SDM vol. 3A 2.5 names the CPUID bit that each CR4 bit needs; PCE needs none."""
    needed = {"vme": cr.CR4_VME | cr.CR4_PVI, "tsc": cr.CR4_TSD, "de": cr.CR4_DE, "pse": cr.CR4_PSE, "pge": cr.CR4_PGE}
    absent = {"pae": 6, "mce": 7, "apic": 9, "fxsr": 24}
    assert cr.CR4_PCE | sum(needed.values()) == cr.CR4_DEFINED
    assert needed.keys() <= FEATURES.keys()
    assert not any(LEAVES[1].edx >> bit & 1 for bit in absent.values())
