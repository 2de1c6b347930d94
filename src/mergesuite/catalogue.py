"""Facts about data sets that are known without loading them."""

DATASET_INFO: dict[str, dict[str, object]] = {
    "digits": {"classes": 10},
    "digits5": {"classes": 5},
    "cifar10": {"classes": 10},
    "cifar100": {"classes": 100},
    "mnist": {"classes": 10},
    "fashion-mnist": {"classes": 10},
}
