import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from polyroute.sparse import Sparse

rows = st.lists(
    st.dictionaries(st.integers(0, 6), st.floats(-9, 9, width=32), max_size=5), max_size=6
)


def dense(drawn):
    x_ND = np.zeros((len(drawn), 7), np.float32)
    for n, row in enumerate(drawn):
        for column, value in row.items():
            x_ND[n, column] = value
    return x_ND


@given(rows, st.integers(0, 3))
def test_it_multiplies_as_the_dense_matrix_does(drawn, width):
    weights = np.arange(7.0 * width).reshape(7, width)
    np.testing.assert_allclose(Sparse.of_rows(drawn, width=7) @ weights, dense(drawn) @ weights)
    vector = np.arange(7.0)
    np.testing.assert_allclose(Sparse.of_rows(drawn, width=7) @ vector, dense(drawn) @ vector)


@given(rows, st.data())
def test_rows_are_chosen_as_numpy_chooses_them(drawn, data):
    index = np.array(data.draw(st.lists(st.sampled_from(range(len(drawn))))) if drawn else [], int)
    chosen = Sparse.of_rows(drawn, width=7).rows(index)
    np.testing.assert_array_equal(chosen @ np.eye(7), dense(drawn)[index])
