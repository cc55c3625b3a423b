"""`netslo measure budget` as it is typed."""

import json

from click.testing import CliRunner

from probes.bandwidth.budget import Budget
from probes.bandwidth.budget_cli import budget
from probes.bandwidth.state import StateDirectory


def run(*arguments: str):
    return CliRunner().invoke(budget, arguments)


def test_a_site_that_never_tested_has_all_of_its_budget(tmp_path):
    shown = run("--state", str(tmp_path / "new"))
    assert shown.exit_code == 0
    assert "0 B of 2 GB used, 2 GB left" in shown.output


def test_what_was_used_and_by_whom(tmp_path):
    spent = Budget(StateDirectory(tmp_path), 1_000_000)
    spent.settle(spent.reserve(400_000, "agent"), 300_000)
    spent.reserve(200_000, "shell")
    shown = run("--state", str(tmp_path))
    assert shown.exit_code == 0
    assert "500 kB of 1 MB used, 500 kB left" in shown.output
    assert [line.split()[-3:] for line in shown.output.splitlines()[-2:]] == [
        ["agent", "300", "kB"],
        ["shell", "200", "kB"],
    ]
    found = json.loads(run("--state", str(tmp_path), "--json").output)
    assert (found["limit"], found["left"]) == (1_000_000, 500_000)
    (today,) = found["days"]
    assert found["today"] == today
    assert (today["used"], today["reserved"], today["forced"]) == (300_000, 200_000, 0)
    assert today["by"] == {"agent": 300_000, "shell": 200_000}


def test_nothing_left_is_bad_news(tmp_path):
    spent = Budget(StateDirectory(tmp_path), 1_000)
    spent.reserve(2_000, "shell", force=True)
    shown = run("--state", str(tmp_path), "--json")
    assert shown.exit_code == 1
    assert '"left": -1000' in shown.output
