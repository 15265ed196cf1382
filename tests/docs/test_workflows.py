"""The workflows of .github: they call targets that exist, for the Pythons of pyproject.toml."""

import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
import smoke
import wheel_matrix
from release_check import version_problems

TREE = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((TREE / ".github" / "workflows").glob("*.yml"))
every_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(workflow).values():
        yield from job["steps"]


def test_the_matrix_tries_every_extra() -> None:
    assert set(smoke.EXTRAS) == set(wheel_matrix.EXTRAS)
    assert smoke.NEEDED.keys() | smoke.INPUTS.keys() <= smoke.EXTRAS.keys()


def test_there_is_a_workflow() -> None:
    assert WORKFLOWS


@every_workflow
def test_every_step_runs_a_command_that_a_contributor_has(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    for line in (each["run"] for each in steps(workflow) if "run" in each):
        words = line.split()
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        else:
            assert len(words) == 1, line
            assert (TREE / words[0]).is_file(), line


def test_the_workflows_run_the_checks_that_contributors_run() -> None:
    ran = {
        line.strip() for each in WORKFLOWS for step in steps(each) for line in [step.get("run", "")]
    }
    assert {"make lint", "make test", "make demo", "make release-check", ".ci/report"} <= ran
    assert "make report-check" in (TREE / ".ci" / "report").read_text()


def pythons_of_classifiers() -> list[str]:
    prefix = "Programming Language :: Python :: "
    versions = (each.removeprefix(prefix) for each in PROJECT["classifiers"] if prefix in each)
    return [version for version in versions if re.fullmatch(r"3\.\d+", version)]


def test_the_tests_run_on_every_python_of_the_classifiers() -> None:
    versions = pythons_of_classifiers()
    assert f">={versions[0]}" == PROJECT["requires-python"]
    run = [
        each["strategy"]["matrix"]["python"]
        for workflow in WORKFLOWS
        for each in jobs(workflow).values()
        if any(step.get("run") == "make test" for step in each["steps"]) and "strategy" in each
    ]
    assert run == [versions]


@every_workflow
def test_every_python_of_a_workflow_is_one_of_the_classifiers(workflow: Path) -> None:
    asked = re.findall(r"python-version: (.+)", workflow.read_text())
    fixed = {each.strip('"') for each in asked if "matrix" not in each}
    assert asked
    assert fixed <= set(pythons_of_classifiers())


@every_workflow
def test_jobs_have_few_rights_an_end_and_pinned_actions(workflow: Path) -> None:
    whole = yaml.safe_load(workflow.read_text())
    assert whole["permissions"] == {"contents": "read"}
    assert whole["concurrency"]["group"]
    for name, job in jobs(workflow).items():
        assert 0 < job["timeout-minutes"] <= 90, name
        assert "permissions" not in job, name
    for step in steps(workflow):
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
    files = {
        path
        for step in steps(workflow)
        if "setup-python" in step.get("uses", "")
        for path in step["with"]["cache-dependency-path"].split()
    }
    assert files
    assert all((TREE / path).is_file() for path in files)


def test_the_operating_systems_are_those_of_the_classifiers() -> None:
    runners = {
        job["runs-on"].partition("-")[0] for each in WORKFLOWS for job in jobs(each).values()
    }
    systems = {each.split(" :: ")[-1] for each in PROJECT["classifiers"] if "Operating" in each}
    assert {"ubuntu": "Linux", "macos": "MacOS"}.keys() == runners
    assert systems == {"Linux", "MacOS"}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- New.\n")
    return tmp_path


def test_a_release_whose_versions_agree_has_no_problem(release: Path) -> None:
    assert version_problems(release, "1.2.0", ["v1.2.0", "for-the-paper"]) == []
    assert version_problems(release, "1.2.0", []) == []


def test_the_tree_as_it_stands_agrees(tmp_path: Path) -> None:
    from stepcli import __version__

    for name in ("CITATION.cff", "CHANGELOG.md"):
        shutil.copy(TREE / name, tmp_path)
    assert version_problems(tmp_path, __version__, []) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CITATION.cff", "version: 1.2.0\n", "version: 1.1.0\n", "CITATION.cff: expected version"),
        ("CHANGELOG.md", "## 1.2.0", "## 1.2", "CHANGELOG.md: no section"),
        ("CHANGELOG.md", "- New.\n", "## 1.1.0 (2026-01-01)\n\n- Old.\n", "of 1.2.0 is empty"),
        ("CHANGELOG.md", "2026-12-01", "unreleased", "has no date yet"),
        ("CHANGELOG.md", "2026-12-01", "soon", "CHANGELOG.md: no section"),
    ],
)
def test_a_release_that_does_not_agree_is_refused(
    release: Path, file: str, old: str, new: str, said: str
) -> None:
    text = (release / file).read_text()
    assert old in text
    (release / file).write_text(text.replace(old, new))
    (problem,) = version_problems(release, "1.2.0", ["v1.2.0"])
    assert said in problem


def test_a_tag_of_another_version_is_refused(release: Path) -> None:
    (problem,) = version_problems(release, "1.2.0", ["v1.3.0"])
    assert problem.startswith("tag v1.3.0: expected v1.2.0")
