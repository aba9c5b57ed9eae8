"""Where the tiles of an AV1 picture lie, by the headers of its one frame.

Sequence header: AV1 specification, 5.5; frame header: 5.9; tiles: 5.9.15 and 5.11.1. Only what a
still picture has is read: one key frame that is shown, in a unit of header and tiles together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from degflow_pipe.decoding.damage import Damage

_SEQUENCE, _FRAME = 1, 6
_SELECT = 2
_FEATURES = ((8, 1), (6, 1), (6, 1), (6, 1), (6, 1), (3, 0), (0, 0), (0, 0))
"""Bits, and whether signed, of the features of a segment."""
_MOST_TILE_WIDTH, _MOST_TILE_AREA = 4096, 4096 * 2304


class Unknown(ValueError):
    """A picture that is put together otherwise; nothing is known to be wrong with it."""


@dataclass(frozen=True)
class Tile:
    """Its place in the picture in pixels, as coded, and that of its data in the coded bytes."""

    top: int
    bottom: int
    left: int
    right: int
    start: int
    stop: int


@dataclass(frozen=True)
class Frame:
    """The tiles of a frame, in the order of their data.

    unit: of the frame's unit its first byte, that of its size and of its content, and the end.
    size_bytes: of the number before each tile's data but the last one's: its length less one.
    """

    tiles: list[Tile]
    unit: tuple[int, int, int, int]
    size_bytes: int

    def changed(self, coded: bytes, ends: list[bytes]) -> bytes:
        """The coded bytes with other data for each tile."""
        head, size_at, start, stop = self.unit
        first = self.tiles[0].start - (self.size_bytes if len(self.tiles) > 1 else 0)
        content = bytearray(coded[start:first])
        for data in ends[:-1]:
            content += (len(data) - 1).to_bytes(self.size_bytes, "little") + data
        content += ends[-1]
        return coded[:head] + coded[head:size_at] + _leb128(len(content)) + content + coded[stop:]


def frame(coded: bytes) -> Frame:
    """Raises Damage for units that make no picture, Unknown for a picture that is none of these."""
    sequence, found = None, None
    for kind, head, size_at, start, stop in _units(coded):
        if kind == _SEQUENCE and sequence is None:
            sequence = _Sequence(_Bits(coded, start, stop))
        elif kind == _FRAME:
            if found is not None or sequence is None:
                raise Unknown("several frames")
            found = _frame(coded, sequence, (head, size_at, start, stop))
        elif kind in (3, 4):  # a frame header and groups of tiles, apart
            raise Unknown("tiles in several units")
    if found is None:
        raise Damage("its units make no picture")
    return found


def _frame(coded: bytes, sequence: _Sequence, unit: tuple[int, int, int, int]) -> Frame:
    _, _, start, stop = unit
    bits = _Bits(coded, start, stop)
    header = _Header(bits, sequence)
    bits.align()
    rows, columns = header.rows, header.columns
    count = (len(rows) - 1) * (len(columns) - 1)
    if count > 1:
        if bits.read(1):
            raise Unknown("tiles in several units")
        bits.align()
    at, tiles = bits.at // 8, []
    for number in range(count):
        y, x = divmod(number, len(columns) - 1)
        end = stop
        if number < count - 1:
            size = int.from_bytes(coded[at : at + header.size_bytes], "little") + 1
            at += header.size_bytes
            end = at + size
        if at >= end or end > stop:
            raise Damage("its tiles are longer than its data")
        tiles.append(Tile(rows[y], rows[y + 1], columns[x], columns[x + 1], at, end))
        at = end
    return Frame(tiles, unit, header.size_bytes)


def _units(coded: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Kind of each unit, its first byte, that of its size and of its content, and the end."""
    at = 0
    while at < len(coded):
        head = coded[at]
        if not head & 2:
            raise Unknown("a unit without a size")
        size_at = at + (2 if head & 4 else 1)
        size, start = _read_leb128(coded, size_at)
        if size is None or start + size > len(coded):
            raise Damage("its units make no picture")
        yield head >> 3 & 15, at, size_at, start, start + size
        at = start + size


def _read_leb128(data: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for i, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << 7 * i
        if not byte & 128:
            return value, at + i + 1
    return None, at


def _leb128(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


class _Bits:
    """Bits of the bytes from start to stop, highest first."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self.data, self.at, self.stop = data, 8 * start, 8 * stop

    def read(self, count: int) -> int:
        value = 0
        if self.at + count > self.stop:
            raise Damage("its headers are cut off")
        for at in range(self.at, self.at + count):
            value = value << 1 | self.data[at >> 3] >> (7 - at % 8) & 1
        self.at += count
        return value

    def skip_if(self, *counts: int) -> bool:
        """Read a bit; where it is set, read on so many bits each."""
        found = self.read(1)
        if found:
            for count in counts:
                self.read(count)
        return bool(found)

    def below(self, limit: int) -> int:
        """ns(n) of 4.10.7: a number below the limit."""
        wide = limit.bit_length()
        short = (1 << wide) - limit
        value = self.read(wide - 1)
        return value if value < short else (value << 1) - short + self.read(1)

    def uvlc(self) -> None:
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(min(zeros, 32))

    def align(self) -> None:
        self.at += -self.at % 8


class _Sequence:
    """What the sequence header says."""

    def __init__(self, bits: _Bits) -> None:
        self.profile = bits.read(3)
        bits.read(1)
        self.reduced = bool(bits.read(1))
        self.point_bits = 0
        if self.reduced:
            bits.read(5)
        else:
            self._points(bits)
        wide, high = bits.read(4) + 1, bits.read(4) + 1
        self.size_bits = (wide, high)
        self.width, self.height = bits.read(wide) + 1, bits.read(high) + 1
        self.id_bits = 0
        if not self.reduced and bits.read(1):
            self.id_bits = bits.read(4) + 2 + bits.read(3) + 1
        self.large = bool(bits.read(1))
        bits.read(2)
        self.screen, self.integer, self.order_bits = _SELECT, _SELECT, 0
        if not self.reduced:
            self._tools(bits)
        self.superres, self.cdef, self.restoration = (bool(bits.read(1)) for _ in range(3))
        self._colours(bits)
        self.grain = bool(bits.read(1))

    def _points(self, bits: _Bits) -> None:
        """Timing and operating points (5.5.1 to 5.5.5)."""
        model, equal, delay = False, False, 0
        if bits.read(1):
            bits.read(64)
            if equal := bool(bits.read(1)):
                bits.uvlc()
            if model := bool(bits.read(1)):
                delay = bits.read(5) + 1
                bits.read(37)
                self.point_bits = 0 if equal else bits.read(5) + 1
                if equal:
                    bits.read(5)
        shown = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if model:
                bits.skip_if(delay, delay, 1)
            if shown:
                bits.skip_if(4)
        self.model = model

    def _tools(self, bits: _Bits) -> None:
        bits.read(4)
        order = bits.read(1)
        if order:
            bits.read(2)
        self.screen = _SELECT if bits.read(1) else bits.read(1)
        if self.screen:
            self.integer = _SELECT if bits.read(1) else bits.read(1)
        if order:
            self.order_bits = bits.read(3) + 1

    def _colours(self, bits: _Bits) -> None:
        """5.5.2."""
        deep = bits.read(1)
        twelve = bool(self.profile == 2 and deep and bits.read(1))
        self.grey = self.profile != 1 and bool(bits.read(1))
        points = tuple(bits.read(8) for _ in range(3)) if bits.read(1) else (2, 2, 2)
        self.separate = False
        self.halved = (True, True)
        if self.grey:
            bits.read(1)
            return
        if points == (1, 13, 0):
            self.halved = (False, False)
        else:
            bits.read(1)
            if self.profile == 2:
                across = bool(bits.read(1)) if twelve else True
                self.halved = (across, bool(twelve and across and bits.read(1)))
            elif self.profile == 1:
                self.halved = (False, False)
            if all(self.halved):
                bits.read(2)
        self.separate = bool(bits.read(1))


class _Header:
    """The frame header (5.9.2): rows and columns are the bounds of tiles in pixels."""

    size_bytes = 0

    def __init__(self, bits: _Bits, sequence: _Sequence) -> None:
        self.bits, self.sequence = bits, sequence
        read = bits.read
        if not sequence.reduced:
            if read(1) or read(2) or not read(1):
                raise Unknown("no key frame that is shown")
            if sequence.model and sequence.point_bits:
                read(sequence.point_bits)
        still = read(1)
        screen = read(1) if sequence.screen == _SELECT else sequence.screen
        if screen and sequence.integer == _SELECT:
            read(1)
        read(sequence.id_bits)
        other_size = 0 if sequence.reduced else read(1)
        read(sequence.order_bits)
        if not sequence.reduced and sequence.model and read(1):
            raise Unknown("times of removal")
        self._size(bool(other_size))
        copies = bool(screen and not self.scaled and read(1))
        if not (sequence.reduced or still):
            read(1)
        self._tiles()
        self._quantisation()
        self._filters(copies)
        if sequence.grain:
            self._grain()

    def _size(self, other: bool) -> None:
        sequence, read = self.sequence, self.bits.read
        width, self.height = sequence.width, sequence.height
        if other:
            width, self.height = (read(n) + 1 for n in sequence.size_bits)
        self.width, self.scaled = width, False
        if sequence.superres and read(1):
            scale = read(3) + 9
            self.width = (8 * width + scale // 2) // scale
            self.scaled = True
        self.bits.skip_if(16, 16)

    def _tiles(self) -> None:
        """5.9.15."""
        read = self.bits.read
        side = 128 if self.sequence.large else 64
        across, down = (-(-(2 * -(-n // 8) * 4) // side) for n in (self.width, self.height))
        widest = _MOST_TILE_WIDTH // side
        area = _MOST_TILE_AREA // side**2
        least_columns = _log2(widest, across)
        least = max(least_columns, _log2(area, across * down))
        if read(1):
            columns = self._more(least_columns, _log2(1, min(across, 64)))
            self.columns = _evenly(across, columns)
            rows = self._more(max(least - columns, 0), _log2(1, min(down, 64)))
            self.rows = _evenly(down, rows)
        else:
            self.columns = self._sized(across, widest)
            most = max(b - a for a, b in zip(self.columns, self.columns[1:], strict=False))
            area = across * down >> least + 1 if least > 0 else across * down
            self.rows = self._sized(down, max(area // most, 1))
        logs = _log2(1, len(self.columns) - 1) + _log2(1, len(self.rows) - 1)
        if logs:
            read(logs)
            self.size_bytes = read(2) + 1
        self.columns = [min(n * side, self.width) for n in self.columns]
        self.rows = [min(n * side, self.height) for n in self.rows]

    def _more(self, least: int, most: int) -> int:
        while least < most and self.bits.read(1):
            least += 1
        return least

    def _sized(self, length: int, most: int) -> list[int]:
        found = [0]
        while found[-1] < length:
            found.append(found[-1] + self.bits.below(min(length - found[-1], most)) + 1)
        return found

    def _delta(self) -> bool:
        """Whether a difference of quantisers is there; a difference of 0 is none."""
        return bool(self.bits.read(1) and self.bits.read(7))

    def _quantisation(self) -> None:
        """5.9.12, 5.9.14, 5.9.17 and 5.9.18."""
        read, sequence = self.bits.read, self.sequence
        base = read(8)
        deltas = self._delta()
        if not sequence.grey:
            apart = bool(sequence.separate and read(1))
            for _ in range(4 if apart else 2):
                deltas |= self._delta()
        if read(1):
            read(12 if sequence.separate else 8)
        self.lossless = base == 0 and not deltas
        if read(1):
            self._segments(base, deltas)
        self.delta_q = bool(base and read(1))
        if self.delta_q:
            read(2)

    def _segments(self, base: int, deltas: bool) -> None:
        quantisers = []
        for _ in range(8):
            quantiser = base
            for i, (count, signed) in enumerate(_FEATURES):
                if self.bits.read(1):
                    value = self.bits.read(count + signed)
                    value -= (value >> count & signed) << count + 1
                    if i == 0:
                        quantiser = min(max(base + value, 0), 255)
            quantisers.append(quantiser)
        self.lossless = not deltas and not any(quantisers)

    def _filters(self, copies: bool) -> None:
        """5.9.18 to 5.9.21, and the bits after them."""
        bits, sequence = self.bits, self.sequence
        read, planes = bits.read, 1 if sequence.grey else 3
        if self.delta_q and not copies and read(1):
            read(3)
        filtered = not self.lossless and not copies
        if filtered:
            levels = (read(6), read(6))
            if planes > 1 and any(levels):
                read(12)
            read(3)
            if read(1) and read(1):
                for _ in range(10):
                    bits.skip_if(7)
        if filtered and sequence.cdef:
            read(2)
            for _ in range(1 << read(2)):
                read(6 if planes == 1 else 12)
        if not copies and sequence.restoration and not (self.lossless and not self.scaled):
            kinds = [read(2) for _ in range(planes)]
            if any(kinds):
                if read(1) and not sequence.large:
                    read(1)
                if all(sequence.halved) and any(kinds[1:]):
                    read(1)
        if not self.lossless:
            read(1)
        read(1)

    def _grain(self) -> None:
        """5.9.30."""
        read, sequence = self.bits.read, self.sequence
        if not read(1):
            return
        read(16)
        luma = self._points()
        from_luma = bool(not sequence.grey and read(1))
        chroma = [0, 0]
        if not (sequence.grey or from_luma or (all(sequence.halved) and not luma)):
            chroma = [self._points(), self._points()]
        read(2)
        lag = read(2)
        places = 2 * lag * (lag + 1)
        if luma:
            read(8 * places)
        for points in chroma:
            if from_luma or points:
                read(8 * (places + bool(luma)))
        read(4)
        for points in chroma:
            if points:
                read(25)
        read(2)

    def _points(self) -> int:
        count = self.bits.read(4)
        self.bits.read(16 * count)
        return count


def _log2(unit: int, length: int) -> int:
    """How often the unit must be doubled to be as long."""
    found = 0
    while unit << found < length:
        found += 1
    return found


def _evenly(length: int, log: int) -> list[int]:
    step = (length + (1 << log) - 1) >> log
    return [*range(0, length, step), length]
