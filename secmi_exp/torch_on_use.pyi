import torch as torch
from torch import Tensor as Tensor
