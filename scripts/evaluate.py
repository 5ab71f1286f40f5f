"""The same as ``dqn-evaluate``, run from a checkout: ``python scripts/evaluate.py``."""

from dqn.evaluate import main

if __name__ == "__main__":
    main()
