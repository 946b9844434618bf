"""One published version in memory: its schema, and a warm model per group and format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aimq.errors import Invalid, NotInstalled
from aimq.profile import Profile
from aimq.published import Manifest
from aimq.schema import RecordEncoder, Schema
from ml_service.batching import Batcher
from ml_service.drift import Drift
from ml_service.row_warnings import Given, RowWarnings
from ml_service.runtimes.port import Matrix, Model, ModelFile, Predictions

#: The two formats of a model.
ONNX: Final = "onnx"
PICKLE: Final = "pickle"

_NO_WARNINGS: Final[Mapping[int, str]] = {}


def has_pickles(manifest: Manifest) -> bool:
    """False if a version was published as ONNX alone, as an imported model is."""
    return any(name.endswith(".pkl") for name in manifest.files)


class NoPickles(NotInstalled):
    """The version was published as ONNX alone."""

    title = "Not in this version"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupModel:
    """A warm model of one group on one runtime.

    Attributes:
        runtime: the runtime's name.
        inline_rows: most rows it may predict on the event loop; 0: none.
        file: the published file.
        bytes: size of the file.
        batcher: how single records are predicted that may not be on the event loop; none for
            pickles, which are loaded for every request.
    """

    model: Model
    runtime: str
    inline_rows: int
    file: ModelFile
    bytes: int
    batcher: Batcher | None

    def predict(self, matrix: Matrix) -> Predictions:
        """See `Model.predict`."""
        return self.model.predict(matrix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version being served. Requests under way keep the one they began with.

    Attributes:
        models: format (`ONNX`, `PICKLE`) to group to model.
        refused: group to the reason why it is not served. Empty: the version is whole.
        labels: group to the fields of an answer that say where it comes from.
        profile: of the training rows; None if nothing is known of them.
        drift: of the rows that are predicted; None without a profile.
        warnings: finds unusual rows; None without a profile, or if the schema asks for none.
    """

    manifest: Manifest
    schema: Schema
    encoder: RecordEncoder
    models: dict[str, dict[str, GroupModel]]
    refused: dict[str, str]
    labels: dict[str, dict[str, str]]
    metrics: Mapping[str, Any]
    profile: Profile | None = None
    drift: Drift | None = None
    warnings: RowWarnings | None = None

    @property
    def name(self) -> str:
        """The version's name."""
        return self.manifest.version

    def groups(self, model_format: str) -> dict[str, GroupModel]:
        """Return the models of a format by group.

        Raises:
            NotInstalled: this installation has no runtime for the format, or the version no file.
        """
        if model_format not in self.models:
            if not has_pickles(self.manifest):
                raise NoPickles(
                    f"Version {self.name} of {self.manifest.name} has no pickles: it was imported "
                    "as ONNX. Ask /predict/onnx."
                )
            raise NotInstalled(
                "This installation has no scikit-learn, so that it serves ONNX models only. Ask "
                "/predict/onnx, or install the default image or all of the packages."
            )
        return self.models[model_format]

    def model(self, model_format: str, group: str) -> GroupModel:
        """Return the model of a group.

        Raises:
            Invalid: the group is not served; names those that are, and why this one is not.
            NotInstalled: see `groups`.
        """
        found = self.groups(model_format).get(group)
        if found is None:
            sentence = self.not_served(group)
            field_ = self.schema.group or "model"
            raise Invalid(
                f"{field_}: {sentence}.",
                errors=[{"field": field_, "message": sentence, "given": group}],
            )
        return found

    def not_served(self, group: str) -> str:
        """Return the sentence on a group that is not served."""
        served = ", ".join(sorted(self.models[ONNX])) or "none"
        reason = self.refused.get(group, "it has no model")
        return f"no model is served for group {group} ({reason}); groups served: {served}"

    def observe_one(self, matrix: Matrix, record: Mapping[str, object]) -> str:
        """Keep the row of a record for the drift, and return its warning, or empty text."""
        if self.drift is not None:
            self.drift.add_one(matrix)
        if self.warnings is None:
            return ""
        return self.warnings.find(matrix, lambda field, _: record.get(field)).get(0, "")

    def observe(self, matrix: Matrix, given: Given) -> Mapping[int, str]:
        """Keep rows that were predicted for the drift, and return the warnings: row to text.

        Args:
            given: see `RowWarnings.find`.
        """
        if self.drift is not None:
            self.drift.add(matrix)
        return _NO_WARNINGS if self.warnings is None else self.warnings.find(matrix, given)
