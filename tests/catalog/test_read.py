"""Reading files of rows: the user's own, and what is wrong with them."""

import pytest

from openwheel.catalog import load_catalog
from openwheel.errors import CatalogError

ROW = """
[[checkpoint]]
id = "acme/ours-1b"
organisation = "Acme"
country = "FI"
family = "Ours"
licence = "LicenseRef-Acme"
model_type = "llama"
confidence = "A"
source = "our own"
"""
LICENCE = """
[[licence]]
id = "LicenseRef-Acme"
name = "Acme licence"
outputs_may_train = "no"
confidence = "A"
source = "our own"
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str):
        path = tmp_path / "ours.toml"
        path.write_text(text, encoding="utf-8")
        return load_catalog([path])

    return load


def test_ones_own_rows_stand_beside_those_that_ship(load):
    catalog = load(ROW + LICENCE)
    row = catalog.find("Acme/Ours-1B")
    assert row.organisation == "Acme"
    assert catalog.may_train_others(row) == "no"
    assert catalog.find("Qwen/Qwen3-0.6B").licence == "Apache-2.0"


def test_ones_own_row_takes_the_place_of_one_that_ships(load):
    before = load_catalog()
    text = ROW.replace("acme/ours-1b", "QWEN/Qwen3-0.6B") + LICENCE
    catalog = load(text)
    assert catalog.find("Qwen/Qwen3-0.6B").licence == "LicenseRef-Acme"
    assert len(catalog.checkpoints) == len(before.checkpoints)


def test_a_family_of_ones_own(load):
    catalog = load(
        """
        [[family]]
        model_type = "ours"
        title = "Ours"
        native = "LlamaForCausalLM"
        loads_as = "llama"
        attention_targets = ["q_proj"]
        confidence = "A"
        source = "our own"
        """
    )
    assert catalog.family("ours").attention_targets == ("q_proj",)
    assert catalog.family("not there") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[checkpoint]", "is not TOML"),
        ("[[model]]\nid = 'x'", "unknown field `model`"),
        (ROW, "checkpoint 'acme/ours-1b'.*no licence 'LicenseRef-Acme'"),
        (ROW.replace("LicenseRef-Acme", "apache2.0"), "did you mean Apache-2.0"),
        (ROW.replace('"llama"', '"llamma"') + LICENCE, "model_type must have.*was 'llamma'"),
        (
            ROW.replace('"FI"', '"Finland"'),
            "'acme/ours-1b': country must be two capital letters.*, was 'Finland'",
        ),
        (ROW + "released = 'last year'", "released must be a year, .*was 'last year'"),
        (ROW + "released = '2026-13'", "released must be .*was '2026-13'"),
        (ROW + "total_parameters = 0", "total_parameters must be a number, above 0, was 0"),
        (ROW + "context = 4096.5", "context must be an integer, at least 1, was 4096.5"),
        (ROW + "contxt = 4096", "'acme/ours-1b'.*unknown field `contxt`"),
        (ROW + "[checkpoint.shape]\nlayers = 'many'", "shape.layers must be an integer"),
        (ROW.replace('source = "our own"', ""), "'acme/ours-1b'.*required field `source`"),
        (ROW.replace('id = "acme/ours-1b"', ""), "checkpoint number 1: .*required field `id`"),
        (ROW.replace('"A"', '"D"'), r"confidence must be .*`A` or `B` or `C`, was 'D'"),
        (ROW + LICENCE + ROW, "'acme/ours-1b' must have one row, and has several"),
        (ROW + "total_parameters = 1\nactive_parameters = 2\n" + LICENCE, "at most .* was 2"),
        (LICENCE + "excluded_regions = ['Europe']", r"excluded_regions\[0\] must be two capital"),
        (LICENCE + "non_commercial = 'yes'", "non_commercial must be true or false, was 'yes'"),
        (
            "[[family]]\nmodel_type = 'x'\ntitle = 'X'\nconfidence = 'A'\nsource = 'us'",
            "family 'x': .*must say the reason",
        ),
        (
            "[[family]]\nmodel_type = 'x'\ntitle = 'X'\nnative = 'Y'\nloads_as = 'z'\n"
            "confidence = 'A'\nsource = 'us'",
            "loads_as must be another family's model_type, was 'z'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_row_and_field(load, text, said):
    with pytest.raises(CatalogError, match=f"ours.toml.*{said}"):
        load(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CatalogError, match=r"no catalogue file .*none.toml"):
        load_catalog([tmp_path / "none.toml"])
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog([tmp_path])
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match="must be UTF-8"):
        load_catalog([path])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("qwen3-0.6b", r"did you mean Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6", r"did you mean .*Qwen/Qwen3-0.6B"),
        ("zzzz/yyyy", r"`openwheel models` lists all"),
    ],
)
def test_a_name_that_is_not_there_gets_those_that_are_like_it(asked, said):
    catalog = load_catalog()
    assert catalog.get(asked) is None
    with pytest.raises(CatalogError, match=said):
        catalog.find(asked)
