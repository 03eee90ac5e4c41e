"""List, show and compare the runs in runs/. Reads run folders and changes none.

python runs.py                                    a table of all runs, the newest first
python runs.py --sort best --where model=cnn      the best runs of a model
python runs.py show runs/first                    all of a run, and the commands that come next
python runs.py diff runs/first runs/second        what differs between two runs
python runs.py seeds                              mean and spread over seeds
python runs.py report                             one HTML page, report.html
python runs.py watch                              the table, refreshed
"""

from {{ cookiecutter.package_name }}.engine.cli.runs import main

if __name__ == "__main__":
    main(__doc__)
