"""The pager encodes what is missing and nothing else, keeps it, and gives the same arrays whatever came before."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from selfroute.memory.pages.made import is_made, made_chunk, made_encoder, made_layout
from selfroute.memory.pages.pager import Pager
from selfroute.memory.pages.resident import Resident
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.store import PageStore
from selfroute.memory.pages.streamed import Streamed
from selfroute.memory.pages.tiers import Tier
from selfroute.types import Chunk

LAYOUT = made_layout()
CHUNKS = [made_chunk(str(i)) for i in range(100)]
PLENTY = 100_000_000


class Setting:
    """A store, and pagers over it that note what they encode."""

    def __init__(self, folder: Path, budget_bytes: int | None = None) -> None:
        self.store = PageStore.open(folder, budget_bytes=budget_bytes)
        self.seen: list[str] = []

    def pager(self, host_bytes: int = PLENTY, **more: object) -> Pager:
        return Pager(self.store, LAYOUT, made_encoder(LAYOUT, self.seen), host_bytes=host_bytes, **more)  # type: ignore[arg-type]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "pages")


def right(resident: Resident, chunks: Sequence[Chunk], names: Sequence[str] | None = None) -> bool:
    hashes = sorted({chunk.content_hash for chunk in chunks})
    assert list(resident.hashes) == hashes
    assert [chunk.content_hash for chunk in resident.chunks] == hashes
    return is_made(LAYOUT, hashes, resident.lengths.tolist(), resident.arrays(names))


def test_what_was_encoded_is_not_encoded_again(setting: Setting, tmp_path: Path) -> None:
    first = setting.pager().page_in(CHUNKS)
    assert first.n_encoded == len(CHUNKS) == len(setting.seen)
    assert right(first, CHUNKS)
    again = setting.pager().page_in(CHUNKS)
    assert again.n_encoded == 0
    assert right(again, CHUNKS)
    setting.store.close()
    later = Setting(tmp_path / "pages")
    assert right(later.pager().page_in(CHUNKS), CHUNKS)
    assert later.seen == []


def test_only_what_changed_is_encoded(setting: Setting) -> None:
    setting.pager().page_in(CHUNKS)
    setting.seen.clear()
    edited = [*CHUNKS[:40], made_chunk("edited"), *CHUNKS[41:], made_chunk("new"), CHUNKS[3]]
    resident = setting.pager().page_in(edited)
    assert setting.seen == [made_chunk("edited").content_hash, made_chunk("new").content_hash]
    assert right(resident, edited)


def test_arrays_that_memory_need_not_hold_are_those_that_it_holds(setting: Setting) -> None:
    resident = setting.pager(host_bytes=0).page_in(CHUNKS)
    whole, streamed = resident.arrays(), Streamed(resident)
    assert set(streamed) == set(whole) and len(streamed) == len(whole)
    draw = random.Random(5)
    n = resident.n_tokens
    for name, array in whole.items():
        parts = streamed[name]
        assert len(parts) == len(array)
        if not LAYOUT.field(name).per_token:
            assert np.array_equal(parts, array)  # type: ignore[arg-type]
            continue
        for _ in range(30):
            start, stop = sorted(draw.randrange(n + 1) for _ in "ab")
            assert np.array_equal(parts[start:stop], array[start:stop])
            at = np.array([draw.randrange(n) for _ in range(draw.randrange(40))], np.int64)
            assert np.array_equal(parts[at], array[at])
        assert np.array_equal(parts[n - 3 : n + 9], array[-3:])
    keys = streamed["keys"]
    assert np.array_equal(keys[:500, 1:2], whole["keys"][:500, 1:2])
    assert np.array_equal(keys[np.array([7, 3]), 0], whole["keys"][[7, 3], 0])


def test_the_same_pages_give_the_same_bytes_in_any_order_and_company(tmp_path: Path) -> None:
    whole, parts = Setting(tmp_path / "a"), Setting(tmp_path / "b")
    arrays = whole.pager().page_in(CHUNKS).arrays()
    pager = parts.pager(batch_pages=7)
    resident = None
    shuffled = random.Random(1).sample(CHUNKS, len(CHUNKS))
    for first in range(0, len(CHUNKS), 9):
        resident = pager.page_in(shuffled[first : first + 9], onto=resident)
    assert resident is not None
    for name, array in resident.arrays().items():
        assert array.tobytes() == arrays[name].tobytes()
    assert sorted(parts.seen) == sorted(whole.seen)


def test_pages_join_those_that_were_already_read(setting: Setting) -> None:
    pager = setting.pager()
    few = pager.page_in(CHUNKS[:5])
    setting.seen.clear()
    more = pager.page_in(CHUNKS[3:20], onto=few)
    assert right(more, CHUNKS[:20])
    assert len(setting.seen) == more.n_encoded == 15
    assert right(few, CHUNKS[:5])


def test_a_budget_takes_chunks_in_their_order(setting: Setting) -> None:
    pager = setting.pager()
    room = sum(chunk.n_tokens for chunk in CHUNKS[:30])
    resident = pager.page_in(CHUNKS, budget_tokens=room)
    assert right(resident, CHUNKS[:30])
    assert resident.n_tokens == room
    larger = pager.page_in(CHUNKS[50:], budget_tokens=room + CHUNKS[50].n_tokens, onto=resident)
    assert right(larger, [*CHUNKS[:30], CHUNKS[50]])
    assert len(pager.page_in(CHUNKS, budget_tokens=0)) == 0


def test_nothing_asked_is_nothing_found(setting: Setting) -> None:
    resident = setting.pager().page_in([])
    assert len(resident) == resident.n_tokens == 0
    assert list(resident.blocks(100)) == []
    assert all(array.size == 0 for array in resident.arrays().values())


def test_progress_and_estimate(setting: Setting) -> None:
    pager, told = setting.pager(batch_pages=40), []
    missing = pager.missing(CHUNKS)
    assert (missing.pages, missing.tokens) == (100, sum(chunk.n_tokens for chunk in CHUNKS))
    assert missing.seconds is None
    pager.page_in(CHUNKS[:90], progress=lambda *at: told.append(at))
    assert told == [("encode", 0, 90), ("encode", 40, 90), ("encode", 80, 90), ("encode", 90, 90)]
    missing = pager.missing(CHUNKS)
    assert missing.pages == 10
    assert missing.seconds is not None and missing.seconds > 0
    told.clear()
    pager.page_in(CHUNKS[:90], progress=lambda *at: told.append(at))
    assert told == []


def test_blocks_are_all_pages_within_their_bounds(setting: Setting) -> None:
    resident = setting.pager().page_in(CHUNKS)
    for most in (1, 300, 1000, 10**9):
        blocks = list(resident.blocks(most, ["keys", "vector"]))
        assert [name for block in blocks for name in block.hashes] == list(resident.hashes)
        assert [block.first for block in blocks] == np.cumsum([0, *(len(b.hashes) for b in blocks)])[:-1].tolist()
        for block in blocks:
            assert int(block.lengths.sum()) <= most or len(block.hashes) == 1
            assert is_made(LAYOUT, block.hashes, block.lengths.tolist(), block.arrays)
        whole = resident.arrays(["keys"])["keys"]
        assert np.array_equal(np.concatenate([block.arrays["keys"] for block in blocks]), whole)


def test_encoding_that_breaks_off_keeps_what_it_had(setting: Setting) -> None:
    encode = made_encoder(LAYOUT, setting.seen)

    def broken(chunks: list[Chunk]) -> Sequence[object]:
        if len(setting.seen) >= 40:
            raise MemoryError
        return encode(chunks)

    pager = Pager(setting.store, LAYOUT, broken, host_bytes=PLENTY, batch_pages=20)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        pager.page_in(CHUNKS)
    assert setting.store.stats().pages == 40
    assert right(setting.pager().page_in(CHUNKS), CHUNKS)
    assert len(setting.seen) == len(CHUNKS)


def test_a_damaged_page_is_encoded_again(setting: Setting, tmp_path: Path) -> None:
    setting.pager().page_in(CHUNKS)
    setting.store.close()
    segment = Segments(tmp_path / "pages").path(1)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    after = Setting(tmp_path / "pages")
    resident = after.pager().page_in(CHUNKS)
    assert after.seen == []  # it shows when it is read
    assert right(resident, CHUNKS)
    assert len(after.seen) == 1
    assert after.store.check_integrity().ok


def test_a_full_disk_costs_the_keeping_not_the_answer(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    pager = setting.pager()
    pager.page_in(CHUNKS[:30])

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Segments, "write", full)
        resident = pager.page_in(CHUNKS)
        assert right(resident, CHUNKS)
        assert len(pager.notes) == 1
        assert "No space left on device" in pager.notes[0]
        assert right(pager.page_in(CHUNKS[20:]), CHUNKS[20:])
        assert len(setting.seen) == len(CHUNKS)  # they are held in memory
        pager.evict()
        assert right(resident, CHUNKS)
        assert len(setting.seen) == len(CHUNKS) + 70
        small = setting.pager(host_bytes=0)
        assert [block.first for block in small.page_in(CHUNKS).blocks(500)]
        assert right(small.page_in(CHUNKS), CHUNKS)
    assert setting.store.have("00", resident.hashes) == {chunk.content_hash for chunk in CHUNKS[:30]}
    assert setting.store.check_integrity().ok
    setting.pager().page_in(CHUNKS)
    assert setting.store.stats().pages == len(CHUNKS)


def test_a_budget_of_the_disk_costs_the_keeping_not_the_answer(tmp_path: Path) -> None:
    setting = Setting(tmp_path / "pages", budget_bytes=300_000)
    pager = setting.pager(host_bytes=0)
    assert right(pager.page_in(CHUNKS), CHUNKS)
    assert any("budget" in note for note in pager.notes)
    assert 150_000 < setting.store.stats().disk_bytes <= 300_000
    setting.seen.clear()
    assert pager.page_in(CHUNKS).n_encoded < len(CHUNKS)


def test_arrays_stay_in_memory_within_a_budget(setting: Setting) -> None:
    pager = setting.pager()
    resident = pager.page_in(CHUNKS)
    arrays = resident.arrays(["keys"])
    assert pager.page_in(list(reversed(CHUNKS))).arrays(["keys", "ids"])["keys"] is arrays["keys"]
    assert not arrays["keys"].flags.writeable
    stats = pager.stats()
    assert stats.found == {"disk": 0, "host": len(CHUNKS), "device": 0}
    assert stats.encoded == len(CHUNKS)
    assert stats.hit_rate == 0.5
    assert stats.bytes_used["host"] == sum(array.nbytes for array in resident.arrays(["keys", "ids"]).values())
    pager.evict()
    assert pager.stats().bytes_used["host"] == 0
    small = setting.pager(host_bytes=1000)
    assert right(small.page_in(CHUNKS), CHUNKS)
    assert small.stats().bytes_used["host"] == 0


def test_the_hook_of_a_device_is_called_once(setting: Setting) -> None:
    calls = []

    def to_device(arrays: object) -> str:
        calls.append(arrays)
        return f"on device {len(calls)}"

    pager = setting.pager(to_device=to_device, device_bytes=PLENTY)
    assert pager.page_in(CHUNKS).on_device(["keys"]) == "on device 1"
    assert pager.page_in(CHUNKS).on_device(["keys"]) == "on device 1"
    assert pager.page_in(CHUNKS[:9]).on_device(["keys"]) == "on device 2"
    assert pager.stats().found["device"] == len(CHUNKS) + 9
    assert setting.pager().page_in(CHUNKS).on_device(["ids"]).keys() == {"ids"}


def test_a_tier_holds_as_much_as_fits_of_each_pass() -> None:
    tier: Tier[str] = Tier(100)
    for _ in range(2):
        tier.begin()
        found = [tier.get((str(i), "")) is not None or tier.put((str(i), ""), "x", 30, [str(i)]) for i in range(5)]
        assert found == [True, True, True, False, False]
        assert tier.used_bytes == 90
    tier.begin()
    assert tier.put(("new", ""), "y", 80, ["new"])
    assert tier.get(("0", "")) is None
    assert tier.used_bytes == 80
    assert tier.holds("new") and not tier.holds("0")
    assert not tier.put(("huge", ""), "z", 101, ["huge"])
    assert tier.put(("new", ""), "y", 10, ["new"])
    assert tier.used_bytes == 10


def test_threads_share_a_pager(setting: Setting) -> None:
    pager = setting.pager(host_bytes=500_000)

    def ask(i: int) -> bool:
        chunks = random.Random(i).sample(CHUNKS, 40)
        return right(pager.page_in(chunks), chunks)

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(ask, range(60)))
    assert setting.store.check_integrity().ok
    assert setting.store.stats().pages == len({*setting.seen})
