"""Where our own weights are trained, and in which arithmetic."""

import torch


def fastest_device() -> torch.device:
    """Give the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where the device multiplies matrices of it (Intel AMX, GPUs).

    Elsewhere everything stays in float32; losses and optimiser states always do.
    """
    able = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(able))
