"""What a position says: location encoders, and embeddings of any view, against labels of real places.

`python -m training.locbench --help`. A task is a set of labelled positions (`tasks`, `files`), a split says which of
them are held out together (`folds`), a method predicts those (`probes`, `learning`), and a report compares methods.
"""
