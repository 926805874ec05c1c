"""Begins a student near its champion: solves for its last layers before anything is trained.

What PatchCore compares are linear layers without an activation, so the map that fits them best to
the champion's features is found by least squares and folded into them. What reads the finer of the
two is turned back, so that the network behind it sees what it knows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inspection.networks.formulanet import LAYERS, FormulaNet

RIDGE = 1e-3  # of the mean variance: what the network does not say is not blown up


@torch.no_grad()
def begin_near(
    student: FormulaNet, images: Sequence[Tensor], wanted: Sequence[dict[str, Tensor]]
) -> None:
    """Fit the normalisations of a student to its images, then its last layers to what is wanted.

    Args:
        student: changed.
        images: batches, normalised N×3×H×W.
        wanted: of each batch, N×D×h×w by layer.
    """
    _normalise_anew(student, images)
    fine, coarse = LAYERS
    if fine in wanted[0]:
        before = [student.fine(_finer(student, one)) for one in images]
        _solve(student.fine, [_finer(student, one) for one in images], [w[fine] for w in wanted])
        after = [student.fine(_finer(student, one)) for one in images]
        back, _ = _least_squares(_rows(after), _rows(before))
        reads = student.get_submodule("fourth.0.0")
        kernel = reads.get_parameter("weight")
        kernel.copy_(torch.einsum("oihw,ij->ojhw", kernel, back))
        _normalise_anew(student, images)
    if coarse in wanted[0]:
        read = [student.fourth(student.fine(_finer(student, one))) for one in images]
        _solve(student.coarse, read, [w[coarse] for w in wanted])


def _finer(student: FormulaNet, images: Tensor) -> Tensor:
    """Give what the finer of the last layers reads."""
    return student.third(student.second(student.stem(images)))  # type: ignore[no-any-return]


def _normalise_anew(student: FormulaNet, images: Sequence[Tensor]) -> None:
    """Let every normalisation learn means and variances of these images alone."""
    layers = [one for one in student.modules() if isinstance(one, nn.BatchNorm2d)]
    momenta = [one.momentum for one in layers]
    for one in layers:
        one.reset_running_stats()
        one.momentum = None  # the plain mean over all batches
    student.train()
    for batch in images:
        student.compared(batch)
    student.eval()
    for one, momentum in zip(layers, momenta, strict=True):
        one.momentum = momentum


def _solve(layer: nn.Conv2d, read: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Give a 1×1 convolution the weights that come nearest to what is wanted."""
    weight, bias = _least_squares(_rows(read), _rows(wanted))
    layer.weight.copy_(weight[:, :, None, None])
    if layer.bias is not None:
        layer.bias.copy_(bias)


def _rows(planes: Sequence[Tensor]) -> Tensor:
    """N×C×h×w of all batches → (n, C)."""
    return torch.cat([one.permute(0, 2, 3, 1).flatten(0, 2) for one in planes]).double()


def _least_squares(read: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Give matrix (D, C) and offset (D,) that turn (n, C) into nearly (n, D); ridge regression."""
    means = read.mean(0), wanted.mean(0)
    read, wanted = read - means[0], wanted - means[1]
    gram = read.T @ read
    ridge = RIDGE * gram.diagonal().mean() + 1e-12
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram)).to(gram), read.T @ wanted).T
    return weight.float(), (means[1] - weight @ means[0]).float()
