"""Train a model, test its best checkpoint and plot the results. Everything is written to runs/<name>/.

python train.py [flags] [key=value ...]

python train.py                                                      the defaults
python train.py name=first trainer.max_epochs=5                      five epochs, into runs/first/
python train.py --multirun seed=0,1,2                                three runs
python train.py name=cv folds=5                                      five-fold cross-validation, and one table
python train.py trainer=debug                                        a few batches, to find an error
python train.py init_from=runs/first experiment=fine_tune            from the weights of a run
"""

from omegaconf import DictConfig

from {{ cookiecutter.package_name }}.engine.cli.command import command


@command
def main(cfg: DictConfig) -> None:
    from {{ cookiecutter.package_name }}.engine.training.folds import train_folds
    from {{ cookiecutter.package_name }}.engine.training.train import train

    (train_folds if cfg.folds else train)(cfg)


if __name__ == "__main__":
    main()
