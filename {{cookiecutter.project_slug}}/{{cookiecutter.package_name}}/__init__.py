"""Models, datamodules and callbacks; the engine that runs them; and finished runs, opened by `load_run`."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .engine.use import LoadedRun

# Classes that a config may name as a `_target_`, beside this package's own: these, and those that are defined in these
# packages. In any config, also that of a run that came from elsewhere: they compute, and none of them writes a file,
# starts a program, downloads or unpickles. Add what your models need, as narrow as you can.
# torch.utils.data is not among them (some of its datapipes unpickle what they find), nor are torchmetrics' image, text,
# audio and multimodal (some download weights).
ALLOWED_TARGETS = (
    "torch.nn", "torch.optim", "torchmetrics.aggregation", "torchmetrics.classification", "torchmetrics.clustering",
    "torchmetrics.collections", "torchmetrics.nominal", "torchmetrics.regression", "torchmetrics.retrieval",
    "torchmetrics.segmentation",
)  # fmt: skip

_CALLBACKS = (
    "BackboneFinetuning", "BatchSizeFinder", "DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging",
    "GradientAccumulationScheduler", "LearningRateFinder", "LearningRateMonitor", "ModelCheckpoint", "ModelSummary",
    "StochasticWeightAveraging", "Timer", "TQDMProgressBar", "WeightAveraging",
)  # fmt: skip
# In `trainer` and `callbacks` as well, also of a finished run that is trained again (rerun=…): what they write lies in
# the run folder.
TRAINING_TARGETS = (
    "datetime.timedelta",
    "pytorch_lightning.Trainer",
    *(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS),
)

# In `trainer`, `callbacks` and `logger` of your own configs alone: they write, start or call what their arguments say.
OWN_TARGETS = tuple(
    f"{package}.{name}"
    for package, names in {
        "pytorch_lightning.callbacks": (
            "LambdaCallback", "ModelPruning", "OnExceptionCheckpoint", "RichModelSummary", "RichProgressBar",
            "SpikeDetection", "ThroughputMonitor",
        ),
        "pytorch_lightning.loggers": (
            "CometLogger", "CSVLogger", "LitLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger",
        ),
        "pytorch_lightning.plugins": (
            "AsyncCheckpointIO", "BitsandbytesPrecision", "DeepSpeedPrecision", "DoublePrecision", "FSDPPrecision",
            "HalfPrecision", "MixedPrecision", "TorchSyncBatchNorm", "TransformerEnginePrecision", "XLAPrecision",
        ),
        "pytorch_lightning.profilers": (
            "AdvancedProfiler", "PassThroughProfiler", "PyTorchProfiler", "SimpleProfiler", "XLAProfiler",
        ),
        "pytorch_lightning.strategies": (
            "DDPStrategy", "DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy", "SingleDeviceStrategy",
            "SingleDeviceXLAStrategy", "XLAStrategy",
        ),
        "lightning_fabric.plugins": (
            "KubeflowEnvironment", "LightningEnvironment", "LSFEnvironment", "MPIEnvironment", "SLURMEnvironment",
            "TorchCheckpointIO", "TorchElasticEnvironment", "XLACheckpointIO", "XLAEnvironment",
        ),
    }.items()
    for name in names
)  # fmt: skip

T = TypeVar("T")


def target(definition: T) -> T:
    """Mark what configs may name as a `_target_`: a function, or a part of a model that has no base of torch.

    Others are refused: what is a target can be called by any config, with any arguments, also by a stranger's.
    """
    return definition


def load_run(folder: str | Path, checkpoint: str = "best") -> "LoadedRun":
    """Model and datamodule of a run, as in `model, datamodule = load_run("runs/first")`.

    `checkpoint` is `best`, `last` or a path. Raises RefusedError where folder or checkpoint is not there.
    """
    from .engine import use  # torch is imported where it is needed, so that --help comes at once

    return use.load_run(folder, checkpoint)
