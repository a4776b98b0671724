import pytest

from avl_tf.evaluation import caveats


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1, "R@1 and R@5 and R@10 are 100 for any model"),
        (4, "is up to 70 points wide; R@5 and R@10 are 100 for any model."),
        (10, "; R@10 is 100 for any model."),
        (12, "is up to 49 points wide; R@10 is 83 by chance."),
        (24, "val: n = 24 is too small to tell models apart: the 95 % interval of a "),
        (92, "up to 20 points wide."),
        (93, ""),
        (1000, ""),
    ],
)
def test_a_set_that_is_too_small_is_told(n, said):
    found = caveats.of_size("val", n)
    assert said in found and bool(said) == bool(found)


@pytest.mark.parametrize(
    ("metric", "n", "said"),
    [
        ("val/R@10", 4, "it is 100 for any model. --best_metric=val/MRR counts"),
        ("val/R@10", 12, "of n = 12, it is 83 by chance."),
        ("val/a2v/R@5", 24, "moves in steps of 4.2 points, and its 95 % interval is "),
        ("val/a2v/R@5", 24, "--best_metric=val/a2v/MRR counts every rank."),
        ("val/MedR", 24, "a median moves in half ranks"),
        ("val/R@50", 100, "it is 50 by chance"),
        ("val/R@10", 100, ""),
        ("val/MedR", 200, ""),
        ("val/MRR", 4, ""),
        ("val/MRR", 1, "first among one for any model. Choose on a set of more."),
        ("val/R@1", 1, "first among one for any model. Choose on a set of more."),
        ("val/v2a/MRR", 24, ""),
    ],
)
def test_a_metric_that_cannot_tell_is_told_with_a_better_one(metric, n, said):
    found = caveats.of_metric(metric, n)
    assert said in found and bool(said) == bool(found)
