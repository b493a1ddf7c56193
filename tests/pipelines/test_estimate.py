import numpy as np

from pipelines.estimate import count_reads


def test_a_window_inside_one_block_is_one_request():
    assert count_reads(np.array([[0.5, 0.5]]), 0.25) == (1, 1)


def test_blocks_beside_each_other_come_at_once_and_those_below_apart():
    assert count_reads(np.array([[1.0, 0.5]]), 0.25) == (1, 2)
    assert count_reads(np.array([[0.5, 1.0]]), 0.25) == (2, 2)
    assert count_reads(np.array([[1.0, 1.0]]), 0.25) == (2, 4)


def test_what_was_read_is_not_asked_for_again():
    assert count_reads(np.array([[0.5, 0.5], [0.6, 0.5], [1.0, 0.5], [0.5, 0.6]]), 0.25) == (2, 2)
