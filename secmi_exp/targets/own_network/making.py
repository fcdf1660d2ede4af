"""Makes a network of one's own, by importing and calling what the user has named: this executes the user's own code."""

from collections.abc import Callable, Mapping
from importlib import import_module

from torch import nn

from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.formatting import shown
from secmi_exp.store.class_identity import class_identity, function_identity
from secmi_exp.targets.loading.settings_files import reason, root

Factory = Callable[..., object]


def import_factory(name: str) -> Factory:
    """Import a class or function.

    Args:
        name: with its module, such as ``my_package.models.MyUNet``.

    Raises:
        UserError: where there is none, or its module raises an exception.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # a module may raise whatever it likes
        raise UserError(
            f"target.factory={name} can't be imported ({reason(root(error))}): name a class or function with its "
            "module, which must be installed or lie in the folder that the command is given in."
        ) from error
    if not (callable(found) and hasattr(found, "__qualname__")):
        raise UserError(
            f"target.factory={name} is of type {type(found).__name__}: name a class or function that makes the network."
        )
    return found  # type: ignore[no-any-return]


def make_network(name: str, arguments: Mapping[str, Json]) -> nn.Module:
    """Make the network, in evaluation mode.

    Args:
        name: of the factory.
        arguments: of the factory.

    Raises:
        UserError: where the factory raises an exception, or returns something else than a network.
    """
    factory = import_factory(name)
    try:
        network = factory(**arguments)
    except Exception as error:  # whatever the user's code raises
        given = f"the arguments target.kwargs={shown(dict(arguments))}" if arguments else "no arguments"
        raise UserError(
            f"target.factory={name} fails with {given} ({reason(root(error))}): correct target.kwargs or the factory."
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(
            f"target.factory={name} returns an object of type {type(network).__name__}: a torch.nn.Module is wanted."
        )
    return network.eval()


def source_identities(name: str, network: nn.Module) -> list[str]:
    """What stands for the code of a network in keys: the factory, and the classes of its parts that aren't torch's.

    Functions that these call in other files are not covered.

    Args:
        name: of the factory.
        network: the network that the factory made.

    Raises:
        UserError: for code that no file holds.
    """
    factory = import_factory(name)
    own = class_identity(factory) if isinstance(factory, type) else function_identity(factory)
    classes = {type(part) for part in network.modules() if type(part).__module__.partition(".")[0] != "torch"}
    return sorted({own, *map(class_identity, classes)})
