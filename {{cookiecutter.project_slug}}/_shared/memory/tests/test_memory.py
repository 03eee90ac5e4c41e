"""The memory and the cores that a process may use, alone or in a container."""

from pathlib import Path

from {{ cookiecutter.package_name }}.datamodules import memory


def test_memory_that_a_container_may_use_is_what_is_free(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    for version, line, files in (
        ("", "0::/job/step", ("memory.max", "memory.current", "inactive_file")),
        ("memory", "4:memory:/job/step", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ):
        (tmp_path / "proc/self/cgroup").write_text(f"9:name=systemd:/\n{line}\n")
        job = tmp_path / "sys/fs/cgroup" / version / "job"
        (job / "step").mkdir(parents=True)
        for group, limit in ((job, "5000000"), (job / "step", "max")):
            (group / files[0]).write_text(f"{limit}\n")
            (group / files[1]).write_text("3000000\n")
            (group / "memory.stat").write_text(f"cache 9\n{files[2]} 500000\n")
        assert memory.free_memory(tmp_path) == 2_500_000
        (tmp_path / "sys").rename(tmp_path / f"sys_{version}")
    assert memory.free_memory(tmp_path) > 10_000_000  # the groups are gone


def test_cores_are_those_that_this_process_may_use(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    every = memory.cores(tmp_path)
    for limit, cores in (("max 100000", every), ("100000 100000", 1), ("9000000 100000", min(90, every))):
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{limit}\n")
        assert memory.cores(tmp_path) == cores
