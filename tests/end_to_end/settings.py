"""Configurations of the small line: random weights, 96×128 px, seconds instead of minutes."""

GEOMETRY = """
geometry:
  height_px: 96
  width_px: 128
accelerator: cpu
batch_size: 8
"""
BACKBONE = """
backbone:
  name: {name}
  layers: [{layers}]
  allow_random_weights: true
"""
MOBILENET = BACKBONE.format(name="mobilenetv2_050", layers="blocks.1, blocks.2")
OURS = BACKBONE.format(name="formulanet", layers="fine, coarse")
RESNET = BACKBONE.format(name="resnet18", layers="layer1, layer2")

PATCHCORE = f"""
model: Patchcore
{MOBILENET}{GEOMETRY}
patchcore:
  bank_size: 64
  candidates: 2000
"""
STFPM = f"model: Stfpm\nepochs: 1\n{RESNET}{GEOMETRY}"
PADIM = f"""
model: Padim
{RESNET}{GEOMETRY}
model_options:
  n_features: 24
"""
# The way is tested here, not the accuracy: random weights need no AUROC.
EXPORT = """
precision: int8
calibration_images: 8
false_reject_rate: 0.2
golden_frames: 2
gate:
  feature_correlation: 0.9
  map_correlation: 0.5
  estimated_map_correlation: 0.5
  score_correlation: 0.5
  auroc_drop: 0.3
  auroc_least: 0.0
"""
STATION = """
source:
  kind: folder
  path: {source}
  settle_ms: 0
  once: true
recipes:
  default:
    main:
      bundle: {bundle}
data_dir: {data_dir}
deadline_ms: 60000
guards: {{size: off, exposure: off, focus: off, missing: off, frozen: off}}
"""
