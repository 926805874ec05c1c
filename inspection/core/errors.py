"""The error tree of the project; every message says thing, found, wanted, remedy.

InspectionError
├── ConfigError            a YAML file or a parameter is wrong
├── DatasetError           a folder, an image or a manifest is wrong
│   └── ImageError         one image cannot be read as a part
│       └── ImageTooLarge  it has more pixels than any part needs
├── TrainingError          fitting cannot start or did not finish
├── ClusterAway            no machine takes work now; asking again goes on
├── BundleError            a bundle cannot be written, verified or opened
│   ├── BundleCorrupt      bytes differ from what was signed
│   ├── BundleUnavailable  a bundle cannot be read or loaded now
│   ├── CalibrationMissing thresholds cannot be fitted or were not
│   ├── GateRefused        the bundle did not pass its gate
│   ├── OutOfTime          a graph gave no answer in the time it had
│   └── UpdateImpossible   its bank cannot follow a changed set, today or later
├── StationError           the line process cannot go on
│   ├── FrameRejected      one frame cannot be judged
│   └── SpoolFull          an event cannot be made durable
└── HubError               the hub cannot answer now
"""


class InspectionError(Exception):
    """Anything the service refuses or cannot do; the message names the remedy."""


class ConfigError(InspectionError):
    """A configuration file or a parameter is wrong."""


class DatasetError(InspectionError):
    """A folder of parts or a manifest is wrong."""


class ImageError(DatasetError):
    """One image cannot be read as a part."""


class ImageTooLarge(ImageError):
    """An image has more pixels than any part needs; its header says so."""


class TrainingError(InspectionError):
    """Fitting cannot start or did not finish."""


class ClusterAway(InspectionError):
    """No machine of a cluster takes work now; whoever asks again goes on where it ended."""


class BundleError(InspectionError):
    """A bundle cannot be written, verified or opened."""


class BundleCorrupt(BundleError):
    """The bytes of a bundle differ from what was signed."""


class BundleUnavailable(BundleError):
    """A disk, a share or the memory refuses a bundle now; nothing is known against it."""


class CalibrationMissing(BundleError):
    """Thresholds cannot be fitted on what was given."""


class GateRefused(BundleError):
    """The bundle did not pass its gate, or was never put to it."""


class OutOfTime(BundleError):
    """A graph gave no answer in the time it had, and was stopped."""


class UpdateImpossible(BundleError):
    """A bundle's bank cannot follow a changed set, however often it is tried; train anew."""


class StationError(InspectionError):
    """The line process cannot go on."""


class FrameRejected(StationError):
    """One frame cannot be judged; its part becomes FAULT."""


class SpoolFull(StationError):
    """An event cannot be made durable, so no verdict may leave the station."""


class HubError(InspectionError):
    """The hub cannot answer, or what it stands on does not."""
