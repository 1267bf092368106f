"""The keyboard: INT 09h, which turns scan codes into keys, and INT 16h, which hands them out (IBM PS/2 BIOS Interface
Technical Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import ZF, Frame
from bt.firmware.builtin.keyboard.keys import EXTENDED, KEYPAD_DIGITS, KEYS, NONE, Key
from bt.firmware.builtin.pc import Pc
from bt.firmware.builtin.services import Family, Service, nothing

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

RIGHT_SHIFT, LEFT_SHIFT, CTRL, ALT, SCROLL_LOCK, NUM_LOCK, CAPS_LOCK, INSERT = (1 << n for n in range(8))  # 0417h
LEFT_CTRL, LEFT_ALT, SYSTEM, PAUSED = 1 << 0, 1 << 1, 1 << 2, 1 << 3  # 0418h, with the locks' own keys above
LAST_E1, LAST_E0, RIGHT_CTRL, RIGHT_ALT, ENHANCED = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4  # 0496h
BREAK, PREFIX, PAUSE_PREFIX = 0x80, 0xE0, 0xE1
LOCKS = {0x3A: CAPS_LOCK, 0x45: NUM_LOCK, 0x46: SCROLL_LOCK}
SHIFTS = {0x2A: LEFT_SHIFT, 0x36: RIGHT_SHIFT}
CTRL_KEY, ALT_KEY, INSERT_KEY, DELETE_KEY, PRINT_KEY, SYSTEM_KEY, PAUSE_KEY = 0x1D, 0x38, 0x52, 0x53, 0x37, 0x54, 0x46
ANSWERS = frozenset({0xFA, 0xFE, 0xEE, 0x00})  # of the keyboard, not keys
PRINT_SCREEN, CTRL_BREAK = 0x05, 0x1B  # interrupts
CONTROLLER_DATA, CONTROLLER_COMMAND = 0x60, 0x64
SET_LEDS = 0xED
KEYBOARD_ID = 0x41AB
SUPPORTED_FUNCTIONS = 0x30  # enhanced services; the typematic rate is not asked
ALT_DIGITS_DONE = 0x00


# -- INT 09h ----------------------------------------------------------------------------------------------------------


def scan_code(bios: Bios, frame: Frame) -> None:
    """AL from the keyboard; answers with the interrupt to call in AL, or 0. The controllers are told it is over."""
    code, frame.al = frame.al, 0
    pc = bios.pc
    frame.al = _note(bios, pc, code)
    pc.output(0x20, 0x20)


def _note(bios: Bios, pc: Pc, code: int) -> int:
    flags = pc.byte(area.KEYBOARD_FLAGS)
    if flags & LAST_E1:  # Pause is E1h 1Dh 45h and the same let go: of 45h there is nothing to note
        if code & 0x7F == 0x45:
            pc.put_byte(area.KEYBOARD_FLAGS, flags & ~LAST_E1)
        return 0
    if code in (PREFIX, PAUSE_PREFIX):
        pc.put_byte(area.KEYBOARD_FLAGS, flags | (LAST_E0 if code == PREFIX else LAST_E1))
        return 0
    is_extended = bool(flags & LAST_E0)
    pc.put_byte(area.KEYBOARD_FLAGS, flags & ~LAST_E0)
    key, is_break = code & 0x7F, bool(code & BREAK)
    if code in ANSWERS and not is_extended:
        return 0
    if key in SHIFTS:
        if not is_extended:  # else of a cursor key that a shift goes with
            pc.set_bits(area.SHIFT_FLAGS, SHIFTS[key], not is_break)
        return 0
    if key in (CTRL_KEY, ALT_KEY):
        _control_or_alt(pc, key, is_extended, is_break)
        return 0
    if key in LOCKS and not (key == PAUSE_KEY and (is_extended or pc.byte(area.SHIFT_FLAGS) & CTRL)):
        _lock(pc, LOCKS[key], is_break)
        return 0
    if key == INSERT_KEY:
        pc.set_bits(area.SHIFT_FLAGS_2, INSERT, not is_break)
        if not is_break and not pc.byte(area.SHIFT_FLAGS) & (CTRL | ALT):
            pc.put_byte(area.SHIFT_FLAGS, pc.byte(area.SHIFT_FLAGS) ^ INSERT)
    return 0 if is_break else _pressed(bios, pc, key, is_extended)


def _control_or_alt(pc: Pc, key: int, is_extended: bool, is_break: bool) -> None:
    left, right, both = (LEFT_CTRL, RIGHT_CTRL, CTRL) if key == CTRL_KEY else (LEFT_ALT, RIGHT_ALT, ALT)
    if is_extended:
        pc.set_bits(area.KEYBOARD_FLAGS, right, not is_break)
    else:
        pc.set_bits(area.SHIFT_FLAGS_2, left, not is_break)
    is_held = pc.byte(area.KEYBOARD_FLAGS) & right or pc.byte(area.SHIFT_FLAGS_2) & left
    pc.set_bits(area.SHIFT_FLAGS, both, bool(is_held))
    if key == ALT_KEY and is_break and (character := pc.byte(area.ALT_KEYPAD)):
        pc.put_byte(area.ALT_KEYPAD, 0)
        put_key(pc, character)


def _lock(pc: Pc, bit: int, is_break: bool) -> None:
    pc.set_bits(area.SHIFT_FLAGS_2, bit, not is_break)
    if not is_break:
        pc.put_byte(area.SHIFT_FLAGS, pc.byte(area.SHIFT_FLAGS) ^ bit)
        set_leds(pc)


def set_leds(pc: Pc) -> None:
    """As the locks are. The keyboard acknowledges both bytes, which nobody else is to see."""
    leds = pc.byte(area.SHIFT_FLAGS) >> 4 & 7
    pc.put_byte(area.KEYBOARD_LEDS, pc.byte(area.KEYBOARD_LEDS) & ~7 | leds)
    for value in (SET_LEDS, leds):
        pc.output(CONTROLLER_DATA, value)
        pc.input(CONTROLLER_DATA)


def _pressed(bios: Bios, pc: Pc, key: int, is_extended: bool) -> int:
    shifts = pc.byte(area.SHIFT_FLAGS)
    if key == DELETE_KEY and shifts & CTRL and shifts & ALT:
        pc.put_word(area.RESET_FLAG, 0x1234)
        bios.restart()
        return 0
    if key == PAUSE_KEY and (is_extended or shifts & CTRL):
        pc.put_byte(area.BREAK_FLAG, 0x80)
        head = pc.word(area.KEYS_START_AT)
        pc.put_word(area.KEYS_HEAD, head)
        pc.put_word(area.KEYS_TAIL, head)
        put_key(pc, 0)
        return CTRL_BREAK
    if key == PRINT_KEY and is_extended and not shifts & (CTRL | ALT):
        return PRINT_SCREEN
    if shifts & ALT and not is_extended and key in KEYPAD_DIGITS:
        number = pc.byte(area.ALT_KEYPAD) * 10 + KEYPAD_DIGITS[key]
        pc.put_byte(area.ALT_KEYPAD, number)
        return 0
    entry = (EXTENDED if is_extended and key in EXTENDED else KEYS).get(key)
    if entry is not None and (word := chosen(entry, shifts)) != NONE:
        put_key(pc, word)
    return 0


def chosen(key: Key, shifts: int) -> int:
    """What the key says with what is held and locked."""
    if shifts & ALT:
        return key.alt
    if shifts & CTRL:
        return key.ctrl
    is_shifted = bool(shifts & (LEFT_SHIFT | RIGHT_SHIFT))
    if (key.is_letter and shifts & CAPS_LOCK) or (key.is_keypad and shifts & NUM_LOCK):
        is_shifted = not is_shifted
    return key.shift if is_shifted else key.plain


# -- the buffer -------------------------------------------------------------------------------------------------------


def _after(pc: Pc, offset: int) -> int:
    offset += 2
    return offset if offset < pc.word(area.KEYS_END_AT) else pc.word(area.KEYS_START_AT)


def put_key(pc: Pc, word: int) -> bool:
    """Into the buffer; False if it is full."""
    tail = pc.word(area.KEYS_TAIL)
    following = _after(pc, tail)
    if following == pc.word(area.KEYS_HEAD):
        return False
    pc.put_word(area.BDA + tail, word)
    pc.put_word(area.KEYS_TAIL, following)
    return True


def first_key(pc: Pc) -> int | None:
    head = pc.word(area.KEYS_HEAD)
    return None if head == pc.word(area.KEYS_TAIL) else pc.word(area.BDA + head)


def _drop_first(pc: Pc) -> None:
    pc.put_word(area.KEYS_HEAD, _after(pc, pc.word(area.KEYS_HEAD)))


def usual(word: int) -> int | None:
    """As keyboards of 83 keys would have said it; None if they could not (functions 00h and 01h)."""
    scan, character = word >> 8, word & 0xFF
    if scan == 0xE0:  # grey Enter and /
        return (0x1C00 if character in (0x0D, 0x0A) else 0x3500) | character
    if scan >= 0x85:
        return None
    if (character == 0xE0 and scan) or (character == 0xF0 and scan):
        return None if character == 0xF0 else scan << 8
    return word


# -- INT 16h ----------------------------------------------------------------------------------------------------------


def _read(is_enhanced: bool) -> Service:
    def service(bios: Bios, frame: Frame) -> int | None:
        """AX: the next key, which is waited for."""
        pc = bios.pc
        while (word := first_key(pc)) is not None:
            _drop_first(pc)
            if (answer := _enhanced(word) if is_enhanced else usual(word)) is not None:
                frame.ax = answer
                return None
        return rom.HALT

    return service


def _peek(is_enhanced: bool) -> Service:
    def service(bios: Bios, frame: Frame) -> None:
        """ZF: no key waits; else AX is the next, which stays."""
        pc = bios.pc
        while (word := first_key(pc)) is not None:
            if (answer := _enhanced(word) if is_enhanced else usual(word)) is not None:
                frame.ax = answer
                frame.set_flag(ZF, False)
                return
            _drop_first(pc)
        frame.set_flag(ZF, True)

    return service


def _enhanced(word: int) -> int:
    """F0h marks keys of the enhanced keyboard that have no character."""
    return word & 0xFF00 if word & 0xFF == 0xF0 and word >> 8 else word


def shift_flags(bios: Bios, frame: Frame) -> None:
    """AH=02h: AL."""
    frame.al = bios.pc.byte(area.SHIFT_FLAGS)


def set_typematic(bios: Bios, frame: Frame) -> None:
    """AH=03h, AL=05h: BH delay, BL rate, to the keyboard."""
    if frame.al == 0x05:
        for value in (0xF3, frame.bh << 5 & 0x60 | frame.bl & 0x1F):
            bios.pc.output(CONTROLLER_DATA, value)
            bios.pc.input(CONTROLLER_DATA)


def store_key(bios: Bios, frame: Frame) -> None:
    """AH=05h: CX; AL=1: no room."""
    frame.al = int(not put_key(bios.pc, frame.cx))


def functionality(bios: Bios, frame: Frame) -> None:
    """AH=09h: AL."""
    frame.al = SUPPORTED_FUNCTIONS


def identification(bios: Bios, frame: Frame) -> None:
    """AH=0Ah: BX."""
    frame.bx = KEYBOARD_ID


def extended_shift_flags(bios: Bios, frame: Frame) -> None:
    """AH=12h: AL as AH=02h; AH more of them."""
    pc = bios.pc
    second, third = pc.byte(area.SHIFT_FLAGS_2), pc.byte(area.KEYBOARD_FLAGS)
    frame.al = pc.byte(area.SHIFT_FLAGS)
    frame.ah = second & 0x73 | (0x80 if second & SYSTEM else 0) | third & 0x0C


def capabilities(bios: Bios, frame: Frame) -> None:
    """AH=92h, A2h: by AH that is not 80h programs see that 10h to 12h, 20h to 22h are there."""
    frame.ah = 0x80 if frame.ah == 0x92 else frame.ah


FUNCTIONS: dict[int, Service] = {
    0x00: _read(is_enhanced=False),
    0x01: _peek(is_enhanced=False),
    0x02: shift_flags,
    0x03: set_typematic,
    0x05: store_key,
    0x09: functionality,
    0x0A: identification,
    0x10: _read(is_enhanced=True),
    0x11: _peek(is_enhanced=True),
    0x12: extended_shift_flags,
    0x92: capabilities,
    0xA2: nothing,
}
FAMILY = Family(FUNCTIONS, nothing)
KEY = Family({}, scan_code)
