"""A network of one's own, in pixel space, seen as a noise predictor."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secmi_exp.data.model_range import to_input_range
from secmi_exp.diffusion.noise_predictor import Condition, NoisePredictor
from secmi_exp.diffusion.path import GaussianPath
from secmi_exp.engine.kept_target import forget_target
from secmi_exp.errors import UserError
from secmi_exp.files.strict_json import Json
from secmi_exp.targets.loading.settings_files import reason, root
from secmi_exp.targets.own_network.calling import Calling, prediction_in
from secmi_exp.targets.own_network.making import make_network
from secmi_exp.targets.own_network.state_dict import StateDictFile


class OwnNetwork(NoisePredictor):
    """A network that the user's factory makes, with its weights.

    Args:
        factory: name of the class or function.
        arguments: arguments of the factory.
        weights: the file.
        path: Gaussian path that the network was trained on.
        calling: how the network is called.
        input_range: the network's values of black and white.

    Raises:
        UserError: where the factory fails, and for weights that can't be read or don't fit.
    """

    def __init__(
        self,
        factory: str,
        arguments: Mapping[str, Json],
        weights: StateDictFile,
        path: GaussianPath,
        calling: Calling,
        input_range: tuple[float, float],
    ):
        super().__init__()
        forget_target()
        self.path, self.calling, self.input_range = path, calling, input_range
        self.inner = make_network(factory, arguments)
        self.left_out = weights.load_into(self.inner)
        """Keys of the file that aren't the network's."""

    @property
    def network(self) -> nn.Module:
        """The network that the factory made."""
        return self.inner

    @property
    def dtype(self) -> torch.dtype:
        """Precision of its weights."""
        return next((each.dtype for each in self.inner.parameters() if each.is_floating_point()), torch.float32)

    def encode(self, inputs: Tensor) -> Tensor:
        """Scale pixels to the network's input range, in float32, or in float64 where the network is."""
        return to_input_range(inputs, self.input_range).to(torch.promote_types(self.dtype, torch.float32))

    def evaluate(self, x: Tensor, time: float, condition: Condition) -> Tensor:
        """Evaluate the network; a variance, the second half of the channels, is left out."""
        output = prediction_in(self.calling(self.inner, x.to(self.dtype), time))
        assert isinstance(output, Tensor)  # see `try_once`
        return output[:, : x.shape[1]].to(x.dtype)

    @torch.no_grad()
    def try_once(self, shape: tuple[int, int, int]) -> None:
        """Evaluate it on two images at the last timestep.

        Args:
            shape: (C, H, W) of the images.

        Raises:
            UserError: where it fails, or its output has another shape than a prediction.
        """
        x_t, time = torch.zeros(2, *shape, dtype=self.dtype), self.path.model_time(len(self.path) - 1)
        times = self.calling.times(x_t, time)
        called = f"with x_t of shape {[*x_t.shape]} and t = {times.tolist()}"
        try:
            output = prediction_in(self.calling(self.inner, x_t, time))
        except Exception as error:  # whatever the user's code raises
            raise UserError(
                f"The network of target.factory fails when it is called {called} ({reason(root(error))}): compare its "
                "forward with target.call, target.time and target.time_shape, and the images with what it takes."
            ) from error
        channels, *sides = shape
        found = [*output.shape] if isinstance(output, Tensor) else f"of type {type(output).__name__}"
        if found not in ([2, channels, *sides], [2, 2 * channels, *sides]):
            raise UserError(
                f"The network of target.factory, called {called}, returns a prediction {found}: a tensor of the "
                "images' shape is wanted, or of twice as many channels, of which the second half is a variance."
            )
