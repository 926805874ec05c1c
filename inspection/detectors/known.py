"""The layouts that the frameworks' own exporters write; a file in YAML declares any other."""

from inspection.detectors.layout import Layout

LETTERBOX = {"fit": "centre", "pad": 114, "std": (255.0, 255.0, 255.0)}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
DETR = {
    "picture": IMAGENET,
    "boxes": {"output": "pred_boxes", "form": "cxcywh", "unit": "share"},
    "suppressed": True,
}
KNOWN: dict[str, Layout] = {
    name: Layout.model_validate(declared)
    for name, declared in {
        # tools/deploy/export_model.py --format onnx: an Instances' fields in alphabetical order
        "detectron2": {
            "picture": {"fit": "corner", "colours": "bgr", "axes": "chw"},
            "boxes": {"output": "0", "form": "xyxy"},
            "types": {"output": "1", "along": "list"},
            "scores": {"output": "2", "along": "list"},
            "suppressed": True,
        },
        "detectron2-masks": {
            "picture": {"fit": "corner", "colours": "bgr", "axes": "chw"},
            "boxes": {"output": "0", "form": "xyxy"},
            "types": {"output": "1", "along": "list"},
            "masks": {"output": "2", "kind": "roi", "activation": "none"},
            "scores": {"output": "3", "along": "list"},
            "suppressed": True,
        },
        # MMDeploy's end2end.onnx: configs/mmdet/{base,mask_base}.py
        "mmdeploy": {
            "picture": {"fit": "corner", **IMAGENET},
            "boxes": {"output": "dets", "form": "xyxy", "count": 4},
            "scores": {"output": "dets", "first": 4, "count": 1},
            "types": {"output": "labels", "along": "list"},
            "suppressed": True,
        },
        "mmdeploy-masks": {
            "picture": {"fit": "corner", **IMAGENET},
            "boxes": {"output": "dets", "form": "xyxy", "count": 4},
            "scores": {"output": "dets", "first": 4, "count": 1},
            "types": {"output": "labels", "along": "list"},
            "masks": {"output": "masks", "kind": "picture", "activation": "none"},
            "suppressed": True,
        },
        # export.py --include onnx: one row per candidate, sigmoids taken, px of the input
        "yolov5": {
            "picture": LETTERBOX,
            "boxes": {"output": "0", "form": "cxcywh", "count": 4},
            "objectness": {"output": "0", "first": 4, "count": 1},
            "scores": {"output": "0", "first": 5},
            "suppressed": False,
        },
        # export of v8, v9, 11: one column per candidate, no objectness
        "yolov8": {
            "picture": LETTERBOX,
            "boxes": {"output": "0", "form": "cxcywh", "count": 4, "along": "columns"},
            "scores": {"output": "0", "first": 4, "along": "columns"},
            "suppressed": False,
        },
        # Megvii-BaseDetection/YOLOX, tools/export_onnx.py without --decode_in_inference
        "yolox": {
            "picture": {"fit": "corner", "pad": 114, "colours": "bgr"},
            "boxes": {"output": "0", "form": "yolox", "count": 4},
            "objectness": {"output": "0", "first": 4, "count": 1},
            "scores": {"output": "0", "first": 5},
            "grid": {"strides": (8, 16, 32), "offset": 0.0},
            "suppressed": False,
        },
        # super-gradients' export without pre- and postprocessing
        "yolo-nas": {
            "picture": {**LETTERBOX, "colours": "bgr"},
            "boxes": {"output": "0", "form": "xyxy"},
            "scores": {"output": "1"},
            "suppressed": False,
        },
        # the same with output_predictions_format=flat: image, x0 y0 x1 y1, score, type
        "yolo-nas-flat": {
            "picture": {**LETTERBOX, "std": (1.0, 1.0, 1.0), "colours": "bgr"},
            "boxes": {"output": "0", "form": "xyxy", "first": 1, "count": 4},
            "scores": {"output": "0", "first": 5, "count": 1},
            "types": {"output": "0", "first": 6, "count": 1},
            "suppressed": True,
        },
        # transformers' DETR and its kin; the last of the scores means nothing is there
        "detr": {
            **DETR,
            "scores": {"output": "logits", "activation": "softmax"},
            "background": "last",
        },
        # RT-DETR, D-FINE, Deformable DETR: a sigmoid for each type; pixels from 0 to 1
        "rt-detr": {
            **DETR,
            "picture": {"std": (255.0, 255.0, 255.0)},
            "scores": {"output": "logits", "activation": "sigmoid"},
        },
        # torchvision's detection models as torch.onnx exports them, in eval
        "torchvision": {
            "picture": {"std": (255.0, 255.0, 255.0)},
            "boxes": {"output": "0", "form": "xyxy"},
            "types": {"output": "1", "along": "list"},
            "scores": {"output": "2", "along": "list"},
            "first_type": 1,
            "suppressed": True,
        },
    }.items()
}
