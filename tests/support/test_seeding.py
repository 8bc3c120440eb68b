from pgbench.support.seeding import eval_seeds, train_seed


def test_training_and_evaluation_never_share_a_seed():
    train = {train_seed("hopper-v0", s, p) + 2 * i for s in range(50) for p in ("loop", "algorithm")
             for i in range(8)}  # fmt: skip
    evaluation = set(eval_seeds("hopper-v0", 100))
    assert len(evaluation) == 100 and len(train) == 800
    assert all(seed % 2 == 0 for seed in train) and all(seed % 2 == 1 for seed in evaluation)


def test_seeds_are_fixed_forever():
    """Published records depend on these numbers."""
    assert train_seed("hopper-v0", 0, "loop") == 35824291684365458
    assert eval_seeds("hopper-v0", 2) == [27179095210424533, 48815007750415523]


def test_tuning_has_seeds_of_its_own():
    board = {train_seed("hopper-v0", s, "loop") for s in range(100)} | set(
        eval_seeds("hopper-v0", 100)
    )
    tune = {train_seed("hopper-v0", s, "loop", purpose="tune") for s in range(100)}
    tune |= set(eval_seeds("hopper-v0", 100, purpose="tune"))
    assert len(tune) == 200 and not board & tune
