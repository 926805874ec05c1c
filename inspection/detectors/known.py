"""Layouts of what frameworks export, each with the settings its documentation begins with.

What a training changed (mean, std, order of colours, how pictures are padded) no graph tells; then
a file declares it.
"""

from inspection.detectors.layout import Layout

UNIT_STD = (255.0, 255.0, 255.0)  # makes 0 to 1
LETTERBOX = {"fit": "centre", "pad": 114, "std": UNIT_STD}
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
# Detectron2 and MMDetection pad with 0 after normalising, which is the mean of their pictures.
PADDED = {"fit": "corner", "pad": 114}
DETR = {"boxes": {"output": "pred_boxes", "form": "cxcywh", "unit": "share"}, "suppressed": True}
LOGITS = {"output": "logits", "activation": "sigmoid"}
DETECTRON2 = {
    "picture": {**PADDED, "colours": "bgr"},
    "boxes": {"output": "0", "form": "xyxy"},
    "types": {"output": "1", "along": "list"},
    "suppressed": True,
}
MMDEPLOY = {
    "picture": {**PADDED, **IMAGENET},
    "boxes": {"output": "dets", "form": "xyxy", "end": 4},
    "scores": {"output": "dets", "first": 4, "end": 5},
    "types": {"output": "labels", "along": "list"},
    "suppressed": True,
}
YOLOV8 = {
    "picture": LETTERBOX,
    "boxes": {"output": "0", "form": "cxcywh", "end": 4, "along": "columns"},
    "suppressed": False,
}
TORCHVISION = {
    "picture": {"fit": "corner", "std": UNIT_STD},
    "boxes": {"output": "0", "form": "xyxy"},
    "first_type": 1,
    "suppressed": True,
}
MASK2FORMER = {
    "picture": {"fit": "corner", **IMAGENET},
    "scores": {"output": "class_queries_logits", "activation": "softmax"},
    "background": "last",
    "masks": {"output": "masks_queries_logits", "kind": "picture"},
    "suppressed": True,
}
KNOWN: dict[str, Layout] = {
    name: Layout.model_validate(declared)
    for name, declared in {
        # tools/deploy/export_model.py --format onnx: an Instances' fields in alphabetical order
        "detectron2": {**DETECTRON2, "scores": {"output": "2", "along": "list"}},
        "detectron2-masks": {
            **DETECTRON2,
            "masks": {"output": "2", "kind": "roi", "activation": "none"},
            "scores": {"output": "3", "along": "list"},
        },
        # MMDeploy's end2end.onnx; export_postprocess_mask says whether masks are of the box
        "mmdeploy": MMDEPLOY,
        "mmdeploy-masks": {
            **MMDEPLOY,
            "masks": {"output": "masks", "kind": "roi", "activation": "none"},
        },
        "mmdeploy-whole-masks": {
            **MMDEPLOY,
            "masks": {"output": "masks", "kind": "picture", "activation": "none"},
        },
        # export.py --include onnx: one row per candidate, sigmoids taken, px of the input
        "yolov5": {
            "picture": LETTERBOX,
            "boxes": {"output": "0", "form": "cxcywh", "end": 4},
            "objectness": {"output": "0", "first": 4, "end": 5},
            "scores": {"output": "0", "first": 5},
            "suppressed": False,
        },
        # export of v8, v9, 11: one column per candidate, no objectness
        "yolov8": {**YOLOV8, "scores": {"output": "0", "first": 4, "along": "columns"}},
        "yolov8-masks": {
            **YOLOV8,
            "scores": {"output": "0", "first": 4, "end": -32, "along": "columns"},
            "masks": {
                "output": "1",
                "kind": "prototypes",
                "coefficients": {"output": "0", "first": -32, "along": "columns"},
            },
        },
        # the same with nms=True, and the heads that need none: corners, score, type
        "yolov8-nms": {
            "picture": LETTERBOX,
            "boxes": {"output": "0", "form": "xyxy", "end": 4},
            "scores": {"output": "0", "first": 4, "end": 5},
            "types": {"output": "0", "first": 5, "end": 6},
            "suppressed": True,
        },
        # Megvii-BaseDetection/YOLOX, tools/export_onnx.py without --decode_in_inference
        "yolox": {
            "picture": {"fit": "corner", "pad": 114, "colours": "bgr"},
            "boxes": {"output": "0", "form": "yolox", "end": 4},
            "objectness": {"output": "0", "first": 4, "end": 5},
            "scores": {"output": "0", "first": 5},
            "grid": {"strides": (8, 16, 32), "offset": 0.0},
            "suppressed": False,
        },
        # super-gradients' export without pre- and postprocessing
        "yolo-nas": {
            "picture": LETTERBOX,
            "boxes": {"output": "0", "form": "xyxy"},
            "scores": {"output": "1"},
            "suppressed": False,
        },
        # its default, output_predictions_format=batch: count, corners, scores, types
        "yolo-nas-batch": {
            "picture": {**LETTERBOX, "std": (1.0, 1.0, 1.0)},
            "boxes": {"output": "1", "form": "xyxy"},
            "scores": {"output": "2", "along": "list"},
            "types": {"output": "3", "along": "list"},
            "suppressed": True,
        },
        # and flat: image, corners, score, type
        "yolo-nas-flat": {
            "picture": {**LETTERBOX, "std": (1.0, 1.0, 1.0)},
            "boxes": {"output": "0", "form": "xyxy", "first": 1, "end": 5},
            "scores": {"output": "0", "first": 5, "end": 6},
            "types": {"output": "0", "first": 6, "end": 7},
            "suppressed": True,
        },
        # transformers' exports. DETR: the last of the scores means nothing is there
        "detr": {
            **DETR,
            "picture": IMAGENET,
            "scores": {"output": "logits", "activation": "softmax"},
            "background": "last",
        },
        # Mask2Former and MaskFormer: boxes are those of the masks
        "mask2former": MASK2FORMER,
        # Conditional and Deformable DETR: a sigmoid for each type
        "deformable-detr": {**DETR, "picture": IMAGENET, "scores": LOGITS},
        # RT-DETR, D-FINE: likewise, of pixels from 0 to 1
        "rt-detr": {**DETR, "picture": {"std": UNIT_STD}, "scores": LOGITS},
        # torchvision's detectors in eval; the order of their outputs differs
        "torchvision-rcnn": {
            **TORCHVISION,
            "types": {"output": "1", "along": "list"},
            "scores": {"output": "2", "along": "list"},
        },
        "torchvision-rcnn-masks": {
            **TORCHVISION,
            "types": {"output": "1", "along": "list"},
            "scores": {"output": "2", "along": "list"},
            "masks": {"output": "3", "kind": "picture", "activation": "none"},
        },
        "torchvision-dense": {
            **TORCHVISION,
            "scores": {"output": "1", "along": "list"},
            "types": {"output": "2", "along": "list"},
        },
    }.items()
}
