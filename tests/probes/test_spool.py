"""The spool: in order, durable, bounded, and not to be broken by what the disk does."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.errors import NetsloError
from probes.spool import REFUSED_MAX, Spool


@pytest.fixture
def directory(tmp_path) -> pathlib.Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory):
    with Spool(directory) as spool:
        yield spool


def put(spool: Spool, *payloads: bytes, instance="i-1") -> None:
    for number, payload in enumerate(payloads):
        spool.put(payload, instance_id=instance, sequence=number)


def take_all(spool: Spool) -> list[bytes]:
    taken = []
    while (batch := spool.oldest()) is not None:
        taken.append(zstandard.decompress(batch.body))
        spool.remove(batch.name)
    return taken


def files(directory: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if entry.is_file())


class TestOrder:
    def test_first_in_first_out(self, spool) -> None:
        put(spool, b"a", b"b", b"c")
        assert spool.depth == 3
        assert take_all(spool) == [b"a", b"b", b"c"]
        assert (spool.depth, spool.bytes_waiting, spool.oldest()) == (0, 0, None)

    def test_a_batch_keeps_its_place_until_it_is_removed(self, spool) -> None:
        put(spool, b"a", b"b")
        assert spool.oldest() == spool.oldest()
        assert spool.depth == 2

    def test_the_order_outlives_a_restart_and_another_instance(self, directory) -> None:
        with Spool(directory) as spool:
            put(spool, b"a", b"b", instance="zz")
        with Spool(directory) as spool:
            assert spool.depth == 2
            put(spool, b"c", b"d", instance="aa")
        with Spool(directory) as spool:
            assert take_all(spool) == [b"a", b"b", b"c", b"d"]

    def test_to_remove_twice_is_to_remove_once(self, spool) -> None:
        put(spool, b"a", b"b")
        name = spool.oldest().name
        spool.remove(name)
        spool.remove(name)
        assert take_all(spool) == [b"b"]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.sampled_from(["put", "take", "restart"]), max_size=25))
    def test_it_is_a_queue_whatever_happens(self, tmp_path_factory, steps) -> None:
        directory = tmp_path_factory.mktemp("queue")
        expected: list[bytes] = []
        spool = Spool(directory)
        for number, step in enumerate(steps):
            if step == "put":
                spool.put(b"%d" % number, instance_id="i", sequence=number)
                expected.append(b"%d" % number)
            elif step == "restart":
                spool.close()
                spool = Spool(directory)
            elif expected:
                batch = spool.oldest()
                assert zstandard.decompress(batch.body) == expected.pop(0)
                spool.remove(batch.name)
            assert spool.depth == len(expected)
        assert take_all(spool) == expected
        spool.close()

    def test_many_threads_may_put_while_another_takes(self, spool) -> None:
        threads = [
            threading.Thread(target=put, args=(spool, *[b"%d-%d" % (n, k) for k in range(20)]))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        taken = take_all(spool)
        for thread in threads:
            thread.join()
        taken += take_all(spool)
        assert sorted(taken) == sorted(b"%d-%d" % (n, k) for n in range(4) for k in range(20))

    def test_whoever_asked_is_told_of_a_put(self, spool) -> None:
        told = []
        spool.notify(lambda: told.append(spool.depth))
        put(spool, b"a", b"b")
        spool.notify(None)
        put(spool, b"c")
        assert told == [1, 2]


class TestBounds:
    def test_beyond_the_limit_the_oldest_goes_and_is_counted(self, directory) -> None:
        bodies = [os.urandom(1000) for _ in range(6)]
        with Spool(directory, bytes_max=3500) as spool:
            put(spool, *bodies)
            assert spool.dropped == 3
            assert take_all(spool) == bodies[3:]

    def test_the_limit_holds_for_what_an_earlier_run_left(self, directory) -> None:
        bodies = [os.urandom(1000) for _ in range(6)]
        with Spool(directory) as spool:
            put(spool, *bodies)
        with Spool(directory, bytes_max=2500) as spool:
            assert spool.dropped == 4
            assert take_all(spool) == bodies[4:]

    def test_a_refused_batch_is_kept_aside_with_its_reason(self, spool, directory) -> None:
        put(spool, b"poison", b"good")
        name = spool.oldest().name
        spool.refuse(name, "HTTP 400: not OTLP")
        assert (spool.refused, take_all(spool)) == (1, [b"good"])
        kept = directory / "refused" / name
        assert zstandard.decompress(kept.read_bytes()) == b"poison"
        assert "HTTP 400" in kept.with_name(name + ".reason.txt").read_text()

    def test_only_the_latest_refused_batches_are_kept(self, spool, directory) -> None:
        put(spool, *[b"x"] * (REFUSED_MAX + 5))
        while (batch := spool.oldest()) is not None:
            spool.refuse(batch.name, "no")
        assert spool.refused == REFUSED_MAX + 5
        assert len(files(directory / "refused")) == 2 * REFUSED_MAX

    @pytest.mark.parametrize(
        ("instance", "sequence"), [("../x", 0), ("", 0), ("a" * 65, 0), ("a", -1)]
    )
    def test_an_identity_that_cannot_name_a_file_is_the_caller_s_mistake(
        self, spool, instance, sequence
    ) -> None:
        with pytest.raises(ValueError, match="cannot name a file"):
            spool.put(b"x", instance_id=instance, sequence=sequence)


class TestDamage:
    def test_half_written_files_are_cleaned_away(self, directory) -> None:
        directory.mkdir()
        (directory / "0000000000000001-i-0.otlp.zst.tmp").write_bytes(b"half")
        with Spool(directory) as spool:
            assert spool.depth == 0
        assert files(directory) == []

    def test_files_of_others_are_left_alone(self, directory) -> None:
        directory.mkdir()
        (directory / "notes.txt").write_text("mine")
        with Spool(directory) as spool:
            assert (spool.depth, spool.oldest()) == (0, None)
        assert files(directory) == ["notes.txt"]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda octets: b"",
            lambda octets: b"garbage",
            lambda octets: octets[:-3],
            lambda octets: octets[:12] + bytes([octets[12] ^ 1]) + octets[13:],
            lambda octets: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8,  # claims 2**64 - 1 octets
        ],
        ids=["empty", "garbage", "truncated", "a bit flipped", "a bomb"],
    )
    def test_a_damaged_file_is_set_aside_and_the_rest_goes_on(self, directory, damage) -> None:
        with Spool(directory) as spool:
            put(spool, os.urandom(500), b"good")
        first = directory / files(directory)[0]
        first.write_bytes(damage(first.read_bytes()))
        with Spool(directory) as spool:
            assert take_all(spool) == [b"good"]
            assert spool.refused == 1
        assert (directory / "refused" / first.name).exists()

    def test_a_file_that_somebody_deleted_is_passed_over(self, spool, directory) -> None:
        put(spool, b"a", b"b")
        (directory / files(directory)[0]).unlink()
        assert take_all(spool) == [b"b"]
        assert spool.dropped == 1

    def test_a_kill_loses_nothing_that_was_put(self, directory) -> None:
        program = textwrap.dedent(f"""
            import pathlib, sys
            from probes.spool import Spool
            spool = Spool(pathlib.Path({str(directory)!r}))
            for number in range(10_000):
                spool.put(b"%d" % number, instance_id="i", sequence=number)
                print(number, flush=True)
        """)
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        acknowledged = 0
        for line in child.stdout:
            acknowledged = int(line) + 1
            if acknowledged == 50:
                child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Spool(directory) as spool:
            taken = take_all(spool)
        assert taken[:acknowledged] == [b"%d" % number for number in range(acknowledged)]
        assert len(taken) <= acknowledged + 1


class TestFullDisk:
    @pytest.fixture
    def disk(self, monkeypatch):
        """A disk that can be full: fsync is where ENOSPC may still come up."""

        class Disk:
            full = False

        real = os.fsync

        def fsync(descriptor):
            if Disk.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        monkeypatch.setattr("os.fsync", fsync)
        return Disk

    def test_batches_wait_in_memory_and_keep_their_order(self, spool, directory, disk) -> None:
        put(spool, b"a")
        disk.full = True
        put(spool, b"b", b"c")
        assert (spool.depth, spool.write_failures) == (3, 2)
        assert len(files(directory)) == 1
        assert take_all(spool) == [b"a", b"b", b"c"]

    def test_they_are_written_when_there_is_room_again(self, directory, disk) -> None:
        with Spool(directory) as spool:
            disk.full = True
            put(spool, b"a", b"b")
            disk.full = False
            put(spool, b"c")
            assert len(files(directory)) == 3
        with Spool(directory) as spool:
            assert take_all(spool) == [b"a", b"b", b"c"]

    def test_closing_is_a_last_chance(self, directory, disk) -> None:
        with Spool(directory) as spool:
            disk.full = True
            put(spool, b"a")
            disk.full = False
        with Spool(directory) as spool:
            assert take_all(spool) == [b"a"]

    def test_what_it_does_not_save_is_said_to_be_lost(self, directory, disk, caplog) -> None:
        with Spool(directory) as spool:
            put(spool, b"a")
            disk.full = True
            put(spool, b"b", b"c")
        assert spool.dropped == 2
        assert "2 batches that waited in memory are lost" in caplog.text
        disk.full = False
        with Spool(directory) as spool:
            assert take_all(spool) == [b"a"]

    def test_memory_is_bounded_too(self, directory, disk) -> None:
        bodies = [os.urandom(1000) for _ in range(6)]
        with Spool(directory, memory_bytes_max=3500) as spool:
            disk.full = True
            put(spool, *bodies)
            assert spool.dropped == 3
            assert take_all(spool) == bodies[3:]
            assert spool.bytes_waiting == 0

    def test_a_batch_in_memory_can_be_refused(self, spool, disk) -> None:
        disk.full = True
        put(spool, b"a", b"b")
        spool.refuse(spool.oldest().name, "no")
        assert take_all(spool) == [b"b"]


class TestFolder:
    def test_a_second_process_is_turned_away(self, spool, directory) -> None:
        program = f"""
import pathlib
from probes.spool import Spool
Spool(pathlib.Path({str(directory)!r}))
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert "NetsloError" in done.stderr
        assert "another probe uses this spool" in done.stderr

    def test_a_second_spool_of_the_same_process_too(self, spool, directory) -> None:
        with pytest.raises(NetsloError, match="another probe uses this spool"):
            Spool(directory)

    def test_the_folder_is_free_after_closing(self, directory) -> None:
        Spool(directory).close()
        Spool(directory).close()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(NetsloError, match="file/spool: spool folder: Not a directory"):
            Spool(tmp_path / "file" / "spool")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_cannot_be_written_is_named(self, directory) -> None:
        directory.mkdir(mode=0o500)
        with pytest.raises(NetsloError, match="not writable"):
            Spool(directory)
