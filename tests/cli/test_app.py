"""The application: help, suggestions, completion, settings of a study root, and what help may import."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import study
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.request import read_request
from vjepa_stress.sweep.settings import NAME, Settings

PROJECT = Path(__file__).parents[2]


def test_without_a_command_help_is_printed_and_the_exit_code_is_2() -> None:
    done = study.command()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err
    asked = study.command("--help")
    assert asked.code == 0
    assert asked.out.split() == done.err.split()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("verdit", "small"), "No such command 'verdit'. Did you mean 'verdict'?"),
        (("verdict", "small", "--exploritory"), "No such option: --exploritory. Did you mean --exploratory?"),
        (("verdict", "smal"), "did you mean small?"),
        (("list", "modls"), "Did you mean 'models'?"),
        (("data", "describe", "procedual"), "did you mean procedural"),
        (("fetch", "bass"), "did you mean base?"),
        (("verdict",), "Missing argument 'STUDY'"),
    ],
)
def test_typing_errors_get_suggestions(finished: StudyRoot, words: tuple[str, ...], text: str) -> None:
    where = ("--root", str(finished.path)) if words[0] == "verdict" else ()
    done = study.command(*words, *where)
    assert done.code == 2
    assert text in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("run", "study=small", "exec.threads=1", "--again"),
        ("run", "--again", "exec.threads=1", "study=small"),
        ("run", "small", "study=small", "exec.threads=1", "--again"),
        ("status", "study=small"),
    ],
)
def test_a_study_given_as_an_override_is_refused_with_the_command_that_works(
    finished: StudyRoot, words: tuple[str, ...]
) -> None:
    done = study.command(*words)
    assert done.code == 2
    fix = shlex.split(done.err.split("fix: ")[1])
    assert fix[:3] == ["vjepa-stress", words[0], "small"]
    assert sorted(fix[3:]) == sorted(word for word in words[1:] if "small" not in word)


def test_options_and_overrides_stand_anywhere(finished: StudyRoot) -> None:
    for words in (
        ("--json", "small", "exec.threads=1", "--root", finished.path, "model=tiny", "--config-dir", study.CONF),
        (
            "small",
            "model=tiny",
            "--config-dir",
            study.CONF,
            "-m",
            "--root",
            finished.path,
            "exec.threads=1",
            "--json",
        ),
    ):
        done = study.command("run", *words)
        assert done.code == 0, done.err
        assert (done.json["cells"], done.json["computed"]) == (study.CELLS // 2, 0)


@pytest.mark.parametrize(
    "words", [("--help",), ("audit", "--help"), ("run", "--help"), ("list", "--help"), ("--version",)]
)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    heavy = "torch hydra omegaconf numpy scipy pyarrow matplotlib jsonschema rich"
    code = (
        "import sys; from vjepa_stress.cli import main; code = main(sys.argv[1:]);"
        f" print(code, sorted(set('{heavy}'.split()) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"


def test_listing_blocks_imports_no_torch() -> None:
    code = "import sys; from vjepa_stress.cli import main; main(['list', 'models']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "pocket_d_untrained  UNTRAINED: the twin of pocket_d" in done.stdout


def completions(cwd: Path, line: str) -> list[str]:
    words = line.split(" ")
    shell = {"_VJEPA_STRESS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = (
        "import sys, atexit; from vjepa_stress.cli import main;"
        " atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); main([])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **shell},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == "False"
    return done.stdout.split()


def test_a_shell_completes_commands_studies_blocks_and_overrides(finished: StudyRoot) -> None:
    assert completions(finished.path, "vjepa-stress ver") == ["verdict"]
    assert completions(finished.path, "vjepa-stress run sm") == ["small"]
    assert completions(finished.path, "vjepa-stress fetch gi") == ["giant", "gigantic"]
    assert "model=" in completions(finished.path, "vjepa-stress run small mod")
    assert "--exploratory" in completions(finished.path, "vjepa-stress verdict small --ex")


def test_lists_name_what_can_be_named(finished: StudyRoot, tmp_path: Path) -> None:
    for group, folder in (
        ("models", "model"),
        ("datasets", "data"),
        ("perturbations", "perturbation"),
        ("metrics", "metric"),
    ):
        done = study.command("list", group, "--json", "--config-dir", study.CONF)
        (values,) = done.json.values()
        expected = {path.stem for conf in (PROJECT / "conf", study.CONF) for path in (conf / folder).glob("*.yaml")}
        assert {value["name"] for value in values} == expected
        assert all(value["about"] for value in values if Path(value["file"]).is_relative_to(PROJECT / "conf"))
    listed = study.command("list", "studies", "--root", finished.path)
    assert listed.out.splitlines()[1].split(maxsplit=3)[::3] == ["small", "A study small enough to be run many times"]


def test_settings_are_those_of_exec_and_the_configuration_folder() -> None:
    assert set(Settings.model_fields) == {*ExecConfig.model_fields, "config_dir", "launcher"}


def test_new_writes_settings_that_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert study.command("new", "mine").code == 0
    root = StudyRoot(tmp_path)
    assert Settings.read(root) == Settings()
    # Each line, with its comment sign taken away, is valid.
    lines = [line for line in (tmp_path / NAME).read_text().splitlines() if " = " in line or line.startswith("# [")]
    (tmp_path / NAME).write_text("\n".join(line.removeprefix("# ") for line in lines))
    settings = Settings.read(root)
    assert all(getattr(settings, name) is not None for name in Settings.model_fields)
    edited = "threads = 3\n"
    (tmp_path / NAME).write_text(edited)
    assert study.command("new", "other").code == 0
    assert (tmp_path / NAME).read_text() == edited


def test_the_command_line_goes_before_the_settings_and_these_before_the_defaults(tmp_path: Path) -> None:
    root = StudyRoot(tmp_path)
    (tmp_path / "my conf").mkdir()
    (tmp_path / NAME).write_text(
        'config_dir = "my conf"\nthreads = 3\nchunks = 2\nweights = "it\'s here"\n'
        '[data]\ndavis = "sets/DAVIS {1}"\nssv2 = "/elsewhere"\n'
    )
    request = read_request(["exec.threads=1", "exec.data={folder: /videos}"], None, root)
    assert request.config_dir == tmp_path / "my conf"
    exec_config = request.exec_config
    assert (exec_config.threads, exec_config.chunks, exec_config.device, exec_config.weights) == (
        1,
        2,
        "auto",
        tmp_path / "it's here",
    )
    assert exec_config.data == {
        "davis": tmp_path / "sets/DAVIS {1}",
        "ssv2": Path("/elsewhere"),
        "folder": Path("/videos"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("threds = 2", "did you mean threads?"),
        ("threads = '2'", "threads: Input should be a valid integer, found '2'"),
        ("threads = 0", "threads: "),
        ("data = 'x'", "data: "),
        ("[data]\n'a b' = 'x'", "data.a b: "),
        ("verify = 'never'", "verify: "),
        ("threads = ", "not valid TOML"),
    ],
)
def test_settings_with_mistakes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(BadConfiguration) as refusal:
        Settings.read(StudyRoot(tmp_path))
    assert message in str(refusal.value)
    assert NAME in str(refusal.value)


def test_settings_and_plugins_of_a_study_root_serve_a_whole_study(tmp_path: Path) -> None:
    """The small study with its data set named by the settings, and an encoder in the root's folder `plugins`."""
    text = study.calibration("few").replace("tiny_wide", "idle")
    root = study.new_root(tmp_path / "root", text)
    shutil.copytree(study.CONF, root.path / "conf")
    (root.path / "plugins").mkdir()
    shutil.copy(study.PLUGINS / "idle_encoder.py", root.path / "plugins" / "idle_of_this_root.py")
    (root.path / "conf/model").mkdir(exist_ok=True)
    (root.path / "conf/model/idle.yaml").write_text("_target_: idle_of_this_root.Idle\n")
    (root.path / NAME).write_text('config_dir = "conf"\nplugins = ["idle_of_this_root"]\nthreads = 1\n')
    draft = root.prereg / "small" / "draft.yaml"
    environment = {"PYTHONPATH": str(PROJECT)}
    for words in (("register", draft), ("run", "small"), ("verdict", "small"), ("rerun", "small", "--cells", "16")):
        done = study.shell(*words, "--root", root.path, **environment)
        assert done.code == 0, done.err
    assert "computed: 16\n" in study.command("run", "small", "--again", "--root", root.path).out
    document = json.loads(root.document("small", "v1").read_text())
    assert NAME not in json.dumps(document)


def test_too_early_a_status_is_refused_before_scenarios_are_simulated(
    attacked: StudyRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vjepa_stress.verdict import check

    def simulated(*_: object, **__: object) -> None:
        raise AssertionError("scenarios were simulated")

    monkeypatch.setattr(check, "with_chances", simulated)
    done = study.amend(attacked, study.amended((study.HERE / "draft.yaml").read_text(), status="before-creation"))
    assert done.code == 2, done.err
    assert done.err.startswith("StatusTooEarly")
    assert "simulating" not in done.err
