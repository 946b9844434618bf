"""ONNX models made elsewhere: what is published, what is refused, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import tomli_w
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from aimq.cli.main import app
from aimq.errors import ClientError, Invalid, NotFound, TooLarge
from aimq.published import current_version, read_manifest, verified, versions
from aimq.schema import load_schema
from aimq.settings import Settings
from etl import import_onnx

FEATURES = [
    {"name": "area", "type": "number", "minimum": 10, "maximum": 500},
    {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
    {"name": "heating", "type": "category", "categories": ["gas", "oil"]},
]
WIDTH = 4
REGRESSION = {
    "name": "houses",
    "target": {"name": "price", "prediction": "predicted_price"},
    "features": FEATURES,
}
CLASSES = {
    "name": "flats",
    "target": {
        "name": "sold",
        "task": "classification",
        "classes": ["no", "yes"],
        "prediction": "predicted_sold",
    },
    "features": FEATURES,
}
OPSETS = {"": 15, "ai.onnx.ml": 3}


def rows(count: int = 60) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 9, (count, WIDTH)).astype(np.float32)


def regressor() -> onnx.ModelProto:
    matrix = rows()
    model = RandomForestRegressor(n_estimators=3).fit(matrix, matrix.sum(axis=1))
    return to_onnx(model, matrix[:1], target_opset=OPSETS)


def classifier(**options: object) -> onnx.ModelProto:
    matrix = rows()
    labels = np.where(matrix[:, 0] > 4, "yes", "no")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, labels)
    last = {id(model.steps[-1][1]): options} if options else None
    return to_onnx(model, matrix[:1], options=last, target_opset=OPSETS)


def graph(
    node: onnx.NodeProto | list[onnx.NodeProto],
    *,
    given: list[object] = [None, WIDTH],  # noqa: B006 # never changed
    answers: list[object] | None = [None, 1],  # noqa: B006 # never changed
    kind: int = TensorProto.FLOAT,
    opset: int = 15,
    ir: int = 8,
    weights: tuple[onnx.TensorProto, ...] = (),
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``."""
    made = helper.make_graph(
        node if isinstance(node, list) else [node],
        "made",
        [helper.make_tensor_value_info("x", kind, given)],
        [helper.make_tensor_value_info("y", kind, answers)],
        initializer=weights,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def total(**options: object) -> onnx.ModelProto:
    """A model that answers the sum of a row as (n, 1), or (n,) without ``keepdims``."""
    keep = int(options.pop("keepdims", 1))
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    shape = [None, 1] if keep else [None]
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=keep)
    return graph(node, answers=shape, weights=(axes,), **options)


class Shop:
    """A folder with a schema and a model, and the models folder they are imported into."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models, self.said = folder, folder / "models", list[str]()

    def schema(self, source: dict) -> Path:
        path = self.folder / "schema.toml"
        path.write_text(tomli_w.dumps(source))
        return path

    def model(self, content: onnx.ModelProto | bytes) -> Path:
        path = self.folder / "model.onnx"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    def run(self, content: onnx.ModelProto | bytes, source: dict = REGRESSION, **options: str):
        settings = Settings(models_dir=self.models)
        return import_onnx.run(
            settings, self.model(content), self.schema(source), say=self.said.append, **options
        )

    def session(self, name: str, group: str = "all") -> onnxruntime.InferenceSession:
        folder = self.models / name / current_version(self.models, name)
        return onnxruntime.InferenceSession(
            verified(folder, read_manifest(folder), f"{group}.onnx")
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_regression_is_published_without_pickle_and_answers_as_before(shop):
    content = regressor()
    manifest = shop.run(content)
    folder = shop.models / "houses" / manifest.version
    assert set(manifest.files) == {"all.onnx", "schema.toml", "encoder.json", "metrics.json"}
    assert "imported from model.onnx" in manifest.data
    assert load_schema(folder / "schema.toml") == load_schema(shop.folder / "schema.toml")
    metrics = json.loads((folder / "metrics.json").read_bytes())
    assert metrics["task"] == "regression"
    assert metrics["groups"]["all"]["chosen"] == "imported"
    before = onnxruntime.InferenceSession(content.SerializeToString())
    expected = before.run(None, {before.get_inputs()[0].name: rows()})[0]
    session = shop.session("houses")
    assert np.array_equal(session.run(None, {session.get_inputs()[0].name: rows()})[0], expected)
    assert shop.said == []


@pytest.mark.parametrize("zipmap", [True, False])
def test_of_a_classifier_the_probabilities_are_kept(shop, zipmap):
    shop.run(classifier(zipmap=zipmap), CLASSES)
    session = shop.session("flats")
    (output,) = session.get_outputs()
    assert output.type == "tensor(float)"
    assert output.shape[1] == 2
    answers = session.run(None, {session.get_inputs()[0].name: rows()})[0]
    assert answers.shape == (60, 2)
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert ((answers[:, 1] > 0.5) == (rows()[:, 0] > 4)).mean() > 0.9


def test_numbers_in_a_row_become_a_column(shop):
    shop.run(total(keepdims=0))
    session = shop.session("houses")
    assert session.get_outputs()[0].shape[1] == 1
    answers = session.run(None, {"x": rows()})[0]
    assert np.allclose(answers, rows().sum(axis=1, keepdims=True))


def test_a_width_that_is_not_said_becomes_the_schemas(shop):
    shop.run(total(given=[None, "columns"]))
    assert shop.session("houses").get_inputs()[0].shape[1] == WIDTH


def test_a_name_may_be_given(shop):
    assert shop.run(regressor(), name="villas").name == "villas"
    version = current_version(shop.models, "villas")
    assert load_schema(shop.models / "villas" / version / "schema.toml").name == "villas"


def test_a_folder_has_one_file_for_each_group(shop):
    group = {"name": "town", "values": ["North", "South"]}
    schema = shop.schema({**REGRESSION, "group": group})
    for name in group["values"]:
        (shop.folder / f"{name}.onnx").write_bytes(total().SerializeToString())
    settings = Settings(models_dir=shop.models)
    manifest = import_onnx.run(settings, shop.folder, schema, say=shop.said.append)
    assert manifest.groups == ["North", "South"]
    assert {"North.onnx", "South.onnx"} <= set(manifest.files)
    (shop.folder / "South.onnx").unlink()
    with pytest.raises(NotFound, match=r"South\.onnx"):
        import_onnx.run(settings, shop.folder, schema)


def test_one_file_for_several_groups_is_refused(shop):
    group = {"name": "town", "values": ["North", "South"]}
    with pytest.raises(Invalid, match=r"folder with North\.onnx, South\.onnx"):
        shop.run(total(), {**REGRESSION, "group": group})


def test_what_redisai_cannot_load_is_said_and_published(shop):
    shop.run(total(opset=18, ir=10))
    assert shop.session("houses").run(None, {"x": rows()})[0].shape == (60, 1)
    (said,) = shop.said
    assert "version 18 (up to 15)" in said
    assert "IR version 10 (up to 8)" in said


def identity(**options: object) -> onnx.ModelProto:
    return graph(helper.make_node("Identity", ["x"], ["y"]), **options)


def mixing() -> onnx.ModelProto:
    """Answers a row's distance from the mean of the rows asked with it."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["apart"]),
        helper.make_node("ReduceSum", ["apart", "axes"], ["y"], keepdims=1),
    ]
    return graph(nodes, weights=(helper.make_tensor("axes", TensorProto.INT64, [1], [1]),))


def infinite() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Div", ["x", "zero"], ["ratio"]),
        helper.make_node("ReduceSum", ["ratio", "axes"], ["y"], keepdims=1),
    ]
    return graph(nodes, weights=(helper.make_tensor("axes", TensorProto.INT64, [1], [1]),))


def external() -> onnx.ModelProto:
    model = total()
    weight = model.graph.initializer[0]
    weight.ClearField("int64_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    return model


def external_in_a_branch() -> onnx.ModelProto:
    inner = external().graph
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    return graph(branch)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no model at all", "is not an ONNX model"),
        (b"", "is not an ONNX model"),
        (total(given=[None, 7]), "4 columns, those of the schema"),
        (total(given=[5, WIDTH]), "any number of rows"),
        (total(kind=TensorProto.DOUBLE), r"float32 matrix .*tensor\(double\)"),
        (identity(answers=[None, WIDTH]), "answers 4 numbers per row"),
        (mixing(), "depend on the other rows"),
        (infinite(), "infinite or no numbers"),
        (external(), "external data"),
        (external_in_a_branch(), "external data"),
        (graph(helper.make_node("Levitate", ["x"], ["y"])), "cannot be loaded by ONNX Runtime"),
        (total(opset=999), "cannot be loaded by ONNX Runtime"),
    ],
)
def test_what_is_no_such_regression_is_refused(shop, content, says):
    with pytest.raises(Invalid, match=says):
        shop.run(content)
    assert versions(shop.models, "houses") == []


def test_several_inputs_are_refused(shop):
    model = total()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1]))
    with pytest.raises(Invalid, match=r"one float32 matrix .*x: .*z: "):
        shop.run(model)


@pytest.mark.parametrize(
    ("content", "source", "says"),
    [
        (regressor(), CLASSES, "probabilities of no, yes"),
        (classifier(raw_scores=True, zipmap=False), CLASSES, "not between 0 and 1"),
        (identity(answers=[None, WIDTH]), CLASSES, "answers 4 numbers per row"),
        (classifier(), REGRESSION, "one float32 number per row"),
    ],
)
def test_what_is_no_such_classifier_is_refused(shop, content, source, says):
    with pytest.raises(Invalid, match=says):
        shop.run(content, source)


def test_classes_in_another_order_are_refused(shop):
    target = {**CLASSES["target"], "classes": ["yes", "no"]}
    with pytest.raises(Invalid, match="its classes are no, yes"):
        shop.run(classifier(), {**CLASSES, "target": target})


def test_a_file_over_the_bound_is_refused_unread(shop, monkeypatch):
    monkeypatch.setattr(import_onnx, "LARGEST", 100)
    with pytest.raises(TooLarge, match="is over"):
        shop.run(b"\0" * 101)


def test_a_name_that_is_no_file_name_is_refused(shop):
    with pytest.raises(ClientError, match="letters, digits"):
        shop.run(total(), name="../elsewhere")
    assert not shop.models.exists()


def test_the_command_publishes_and_says_where(shop, monkeypatch):
    monkeypatch.setenv("AIMQ_MODELS_DIR", str(shop.models))
    arguments = ["import", shop.model(total()), "--schema", shop.schema(REGRESSION)]
    done = CliRunner().invoke(app, [*map(str, arguments), "--name", "villas"])
    assert done.exit_code == 0, done.output
    assert str(shop.models / "villas" / current_version(shop.models, "villas")) in done.output


def test_the_metrics_are_what_a_service_reads(shop):
    manifest = shop.run(total())
    content = (shop.models / "houses" / manifest.version / "metrics.json").read_bytes()
    assert msgspec.json.decode(content, type=dict)["groups"]["all"]["onnx_bytes"] > 0


@pytest.mark.parametrize(
    ("model", "schema", "says"),
    [(b"no model", REGRESSION, "is not an ONNX model"), (total(), {"name": "x"}, "feature")],
)
def test_what_its_user_can_mend_is_exit_code_2_and_nothing_is_published(
    shop, monkeypatch, model, schema, says
):
    monkeypatch.setenv("AIMQ_MODELS_DIR", str(shop.models))
    arguments = ["import", shop.model(model), "--schema", shop.schema(schema)]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 2
    assert says in done.output.splitlines()[-1]
    assert not shop.models.exists()
