from __future__ import annotations

from pathlib import Path

import pytest

from schemas import export
from schemas.config import DetectionConfig
from schemas.events import EVENT, LabelEvent, PredictionEvent


def test_the_schemas_in_the_tree_are_those_of_the_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_what_differs_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "json"
    assert export.main([], folder) == 0
    assert export.main(["--check"], folder) == 0
    changed, missing = folder / "label_event.schema.json", folder / "prediction_event.schema.json"
    changed.write_text("{}\n")
    missing.unlink()
    (folder / "old.schema.json").write_text("{}\n")
    assert export.main(["--check"], folder) == 1
    said = capsys.readouterr().err
    assert "label_event.schema.json differs" in said
    assert "prediction_event.schema.json is missing" in said
    assert "old.schema.json belongs to no model" in said
    assert changed.read_text() == "{}\n"
    assert export.main([], folder) == 0
    assert export.main(["--check"], folder) == 0
    assert not (folder / "old.schema.json").exists()


@pytest.mark.parametrize("model", [PredictionEvent, LabelEvent])
def test_every_field_is_described_and_the_examples_are_valid(
    model: type[PredictionEvent | LabelEvent],
) -> None:
    schema = export.json_schema(model)
    assert [n for n, p in schema["properties"].items() if "description" not in p] == ["type"]
    assert schema["examples"]
    for example in schema["examples"]:
        assert type(EVENT.validate_python(example)) is model


def test_the_config_schema_knows_every_section() -> None:
    properties = export.json_schema(DetectionConfig)["properties"]
    assert set(properties) == set(DetectionConfig.model_fields)
