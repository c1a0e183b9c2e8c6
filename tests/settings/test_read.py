from pathlib import Path

import pytest

from openwheel.errors import SettingError
from openwheel.settings import Settings, override, read_settings, setting_rows

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "openwheel.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


def test_a_whole_file(tmp_path):
    settings = read(
        tmp_path,
        """
        [gateway]
        port = 9000
        [[teachers]]
        name = "local"
        url = "http://gpu:8000/v1"
        models = ["qwen*"]
        [[teachers]]
        url = "https://api.example.com/v1"
        key_env = "KEY"
        weight = 2
        [capture]
        mode = "strict"
        sample = { "*" = 0.1, "route a ticket" = 1 }
        [access]
        require_keys = true
        [tasks."draft a reply"]
        compare = "rouge:0.7"
        """,
    )
    assert settings.gateway.port == 9000
    assert [teacher.weight for teacher in settings.teachers] == [1.0, 2.0]
    assert settings.teachers[0].models == ("qwen*",)
    assert settings.capture.sample == {"*": 0.1, "route a ticket": 1.0}
    assert settings.access.require_keys is True
    assert settings.tasks["draft a reply"].compare == "rouge:0.7"
    assert settings.tasks["draft a reply"].judge_budget == 5_000
    assert settings.loop.epsilon == Settings().loop.epsilon


def test_an_empty_file_is_all_defaults(tmp_path):
    assert read(tmp_path, "") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway]\nport = 99999", "gateway.port must be an integer, at least 0, at most 65535"),
        ("[gateway]\nport = '80'", "gateway.port must be an integer"),
        ("[gateway]\nprot = 1", "no setting 'gateway.prot'; did you mean 'port'"),
        ("[gatway]\nport = 1", "no setting 'gatway'; did you mean 'gateway'"),
        ("[gateway]\nxyzzy = 1", "there are: host, port"),
        ("[[teachers]]\nname = 'x'", r"teachers\[0\] must have a setting 'url'"),
        ("[[teachers]]\nurl = 'http://x'\nweight = 0", r"teachers\[0\].weight must be a number"),
        (
            "[capture]\nmode = 'slow'",
            "capture.mode must be `fast`.*, was 'slow'",
        ),
        ("[capture.sample]\nroute = 2", "capture.sample must be a table, each a number"),
        ("[loop]\nrungs = [1]", r"loop.rungs must be a list, each text, was \[1\]"),
        ("[loop]\nepsilon = nan", "loop.epsilon must be a number, above 0"),
        ("gateway = 3", "gateway must be"),
        ("[tasks.route]\ncompare = 1", r"tasks\[NAME\].compare must be text"),
        ("[tasks.route]\ncompere = 'exact'", r"no setting 'tasks\[NAME\].compere'; did you mean"),
        ("[task.route]\ncompare = 'exact'", "no setting 'task'; did you mean 'tasks'"),
        ("[tasks.route]\njudge_budget = -1", r"tasks\[NAME\].judge_budget must be an integer"),
        ("[gateway", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, said):
    with pytest.raises(SettingError, match=said) as raised:
        read(tmp_path, text)
    assert "openwheel.toml" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingError, match="There is no settings file"):
        read_settings(tmp_path / "none.toml")
    with pytest.raises(SettingError, match="cannot be read"):
        read_settings(tmp_path)
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="must be UTF-8"):
        read_settings(path)


def test_the_command_line_comes_before_the_file():
    changed = override(Settings(), {"gateway.port": 9001, "loop.encoder": None})
    assert changed.gateway.port == 9001
    assert changed.loop == Settings().loop
    with pytest.raises(SettingError, match=r"^gateway.workers must be an integer, at least 1"):
        override(Settings(), {"gateway.workers": 0})


@pytest.mark.parametrize("row", list(setting_rows()), ids=lambda row: row.name)
def test_every_setting_has_help_and_is_documented_as_it_is(row):
    assert row.help
    default = "" if row.default is None else f"`{row.default}`" if row.default else ""
    field = row.name.partition(".")[2]
    assert f"| `{field}` | {row.type} | {default} | {row.help} |" in PAGE.read_text()
