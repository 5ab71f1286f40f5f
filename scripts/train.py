"""The same as ``dqn-train``, run from a checkout: ``python scripts/train.py``."""

from dqn.train import main

if __name__ == "__main__":
    main()
