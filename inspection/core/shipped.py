"""Where the weights lie that come with the package, with their record and model card."""

from pathlib import Path

# what `inspection weights train-backbone` wrote
BACKBONE = Path(__file__).parents[1] / "shipped" / "backbone"
# what `inspection weights train-segmenter` wrote
SEGMENTER = BACKBONE.parent / "segmenter"
OPENVINO = "openvino"  # of a segmenter's folder: its conversion, which stations open
