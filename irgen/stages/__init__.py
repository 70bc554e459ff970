"""One module a stage: `VERSION` and `run`, which reads earlier outputs and writes one folder.

`run` takes its manifest sections and its input folders by name, and `out`, the folder to write; it returns the
stage's figures. Modules import torch and its kin inside `run` only, so that planning and scheduling start at once.
"""
