"""torchvision's RandAugment with a draw for each image of a batch, where torchvision itself draws one for the batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2


class TransformationsByImage(v2.RandAugment):  # type: ignore[misc]  # torchvision has no types
    """Applies each transformation at once to all images that drew it.

    Since RandAugment's magnitude is the same for all, there are only some twenty different transformations, signs
    included: a batch takes that many calls for each operation in the row, of whatever size it is, and each image is
    transformed just as if it had come alone.
    """

    @property
    def names(self) -> list[str]:
        """Names of the transformations that are drawn from."""
        return list(self._AUGMENTATION_SPACE)

    def forward(self, images: Tensor, choices: NDArray[np.int64], negative: NDArray[np.bool_]) -> Tensor:
        """Transform images.

        Args:
            images: uint8, [B, 1 or 3, H, W].
            choices: indices into `names`, [B, num_ops]; on the host, so that nothing waits for the device.
            negative: whether the magnitude is negated, for transformations with a sign, [B, num_ops].
        """
        for step in range(self.num_ops):
            images = self._each(images, choices[:, step], negative[:, step])
        return images

    def _each(self, images: Tensor, choices: NDArray[np.int64], negative: NDArray[np.bool_]) -> Tensor:
        """Apply one transformation to each image."""
        transformed = images.clone()
        for place, name in enumerate(self.names):
            magnitude, signed = self._magnitude(name, images)
            for sign in (1.0, -1.0) if signed else (1.0,):
                drawn = (choices == place) & ((negative == (sign < 0)) if signed else True)
                if name != "Identity" and drawn.any():
                    rows = torch.from_numpy(np.flatnonzero(drawn)).to(images.device, non_blocking=True)
                    transformed[rows] = self._apply_image_or_video_transform(
                        images[rows], name, sign * magnitude, interpolation=self.interpolation, fill=self._fill
                    )
        return transformed

    def _magnitude(self, name: str, images: Tensor) -> tuple[float, bool]:
        """Return the magnitude of a transformation, and whether it has a sign."""
        magnitudes, signed = self._AUGMENTATION_SPACE[name]
        values = magnitudes(self.num_magnitude_bins, *images.shape[-2:])
        return (0.0 if values is None else float(values[self.magnitude])), signed
