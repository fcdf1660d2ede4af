"""How configurations write down the arguments of networks and optimizers."""

from hydra.utils import get_class

from secmi_exp.errors import UserError, first_line
from secmi_exp.store import Json
from secmi_exp.store.class_identity import class_identity

Settings = dict[str, bool | int | float | str | list[int] | list[str] | list[float] | None]


def optimizer_class(settings: Settings) -> dict[str, Json]:
    """What a key needs besides the settings of an optimizer: nothing for one of torch's, else its class's identity.

    Raises:
        UserError: for a name that leads to no class.
    """
    name = str(settings.get("_target_"))
    if name.startswith("torch."):
        return {}
    try:
        return {"optimizer_class": class_identity(get_class(name))}
    except (ImportError, ValueError) as error:  # as Hydra does for what can't be imported, and for what is no class
        raise UserError(f"optimizer._target_={name} names no class ({first_line(error)}): choose one.") from error
