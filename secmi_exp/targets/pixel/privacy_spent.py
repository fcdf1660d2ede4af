"""What a target's training by DP-SGD has left beside the weights."""

from pathlib import Path

from secmi_exp.defenses.dp_sgd_settings import PRIVACY
from secmi_exp.files.strict_json import Json
from secmi_exp.run_warnings import warn
from secmi_exp.targets.loading.json_fields import checked
from secmi_exp.targets.loading.model_file_schemas import Spent
from secmi_exp.targets.loading.settings_files import read_json


def privacy_facts(folder: Path) -> dict[str, Json]:
    """Read the privacy that the training spent; warn where DP-SGD ended it early."""
    file = folder / PRIVACY
    if not file.is_file():
        return {}
    privacy = read_json(file)
    spent = checked(Spent, privacy, file)
    if spent.steps < spent.planned_steps and spent.max_epsilon is not None:
        warn(
            "training_stopped_by_epsilon",
            f"DP-SGD ended the target's training after {spent.steps} of {spent.planned_steps} steps, where "
            f"one more would have exceeded defense.max_epsilon={spent.max_epsilon:g}.",
        )
    return {"privacy": privacy}
