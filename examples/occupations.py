"""Job titles and the codes of their occupations, for the examples beside: tf-idf rows as CSR arrays, codes by the rows' classes."""

import argparse

import numpy as np

import softgrad


def asked(description, costs):
    """The file and the groups that a command asks for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--groups", type=int, metavar="N", default=2, help="the N largest major groups (default: 2)")
    which.add_argument("--all", dest="groups", action="store_const", const=None, help=f"all classes; {costs}")
    return parser


def read(path, groups):
    """(X, codes) of the training and of the test rows, of the largest major groups."""
    found = softgrad.data.load(path)
    names = np.array(found.classes)
    codes, test_codes = names[found.y], names[found.y_test]
    majors, counts = np.unique([code[:2] for code in codes], return_counts=True)
    largest = majors[np.argsort(-counts)[:groups]]
    kept, known = (np.isin([code[:2] for code in part], largest) for part in (codes, test_codes))
    return (found.X[kept], codes[kept]), (found.X_test[known], test_codes[known])
