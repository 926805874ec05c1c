"""WinCLIP's map as one graph: what was embedded once stands in it as constants.

Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation" (2023). The
sentences about good and broken parts and the windows of the reference parts are constants; the
graph embeds the windows of a picture and compares. The embeddings are features as a backbone's are:
all behind them stays FP32, because what is compared there differs by hundredths.
"""

import torch
from anomalib.models.image.winclip.torch_model import WinClipModel
from torch import Tensor, nn
from torch.nn import functional

LEAST = 1e-6  # of scores, before they are divided by


class WinClipEmbedding(nn.Module):
    """How CLIP sees a picture: as a whole, patch by patch, and through all windows of each scale.

    The windows of one scale are embedded at once, from the tokens the whole picture begins with.
    """

    def __init__(self, fitted: WinClipModel) -> None:
        super().__init__()
        self.visual, self.scales = fitted.clip.visual, len(fitted.masks)
        for number, mask in enumerate(fitted.masks):
            first = torch.zeros(1, mask.shape[1], dtype=mask.dtype)  # the token of the class
            tokens = torch.cat([first, mask + 1]).T.contiguous()  # (windows, tokens)
            self.register_buffer(f"tokens_{number}", tokens)
        self._tokens: list[Tensor] = []
        self.visual.patch_dropout.register_forward_hook(self._take)

    def _take(self, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        self._tokens.append(inputs[0])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Give `whole`, 1×d, `patches`, patches×c, and `windows_N`, windows×d, of one image."""
        self._tokens.clear()
        whole, patches = self.visual(image)
        tokens = self._tokens[0][0]
        windows = {f"windows_{one}": self._windows(tokens, one) for one in range(self.scales)}
        return {"whole": whole, "patches": patches[0], **windows}

    def _windows(self, tokens: Tensor, number: int) -> Tensor:
        visual = self.visual
        masked = visual.ln_pre(tokens[self.get_buffer(f"tokens_{number}")])
        masked = visual.transformer(masked.permute(1, 0, 2)).permute(1, 0, 2)
        found, _ = visual._global_pool(visual.ln_post(masked))
        return found if visual.proj is None else torch.matmul(found, visual.proj)


class WinClipMap(nn.Module):
    """WinCLIP's map of patches, raw, 0 to 1; its largest value is its score.

    The same numbers as Anomalib's, before they are upsampled.
    """

    def __init__(self, fitted: WinClipModel) -> None:
        super().__init__()
        self.embedding, self.grid = WinClipEmbedding(fitted), fitted.grid_size
        self.temperature, self.shots = fitted.temperature, fitted.k_shot
        self._keep("text", fitted.text_embeddings)
        patches = torch.arange(self.grid[0] * self.grid[1]).view(-1, 1, 1)
        for number, mask in enumerate(fitted.masks):
            covers = (mask.unsqueeze(0) == patches).any(1).float()  # (patches, windows)
            self.register_buffer(f"covers_{number}", covers)
        if self.shots:
            self._keep("seen", fitted.patch_embeddings.flatten(0, 1))
            for number, windows in enumerate(fitted.visual_embeddings):
                self._keep(f"seen_{number}", windows.flatten(0, 1))

    def _keep(self, name: str, embeddings: Tensor) -> None:
        """Keep embeddings (n, d) as constants of length 1."""
        self.register_buffer(name, functional.normalize(embeddings, dim=-1).detach().clone())

    def forward(self, image: Tensor) -> Tensor:
        """Give the raw map of one normalised image, 1×1×h×w."""
        found = self.embedding(image)
        windows = [found[f"windows_{one}"] for one in range(self.embedding.scales)]
        maps = [self._broken(found["whole"]).expand(self.grid[0] * self.grid[1])]
        maps += [self._spread(self._broken(one), number) for number, one in enumerate(windows)]
        score = len(maps) / torch.stack([1 / one for one in maps]).sum(0)
        if self.shots:
            unlike = [self._unlike(found["patches"], "seen")]
            unlike += [
                self._spread(self._unlike(one, f"seen_{number}"), number)
                for number, one in enumerate(windows)
            ]
            score = (score + torch.stack(unlike).mean(0)) / 2
        return score.reshape(1, 1, *self.grid)

    def _broken(self, embeddings: Tensor) -> Tensor:
        """Give the share of the sentences about broken parts in (n, d), 0 to 1; (n,)."""
        likeness = functional.normalize(embeddings, dim=-1) @ self.get_buffer("text").T
        return torch.softmax(likeness / self.temperature, -1)[:, 1]

    def _unlike(self, embeddings: Tensor, seen: str) -> Tensor:
        """Give how unlike all of the reference parts (n, d) are, 0 to 1; (n,)."""
        likeness = functional.normalize(embeddings, dim=-1) @ self.get_buffer(seen).T
        return (1 - likeness.amax(-1)) / 2

    def _spread(self, scores: Tensor, number: int) -> Tensor:
        """Give each patch the harmonic mean of the windows that cover it; (patches,)."""
        covers = self.get_buffer(f"covers_{number}")
        return covers.sum(1) / (covers @ (1 / scores.clamp_min(LEAST)))
