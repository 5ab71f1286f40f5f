"""The same as ``dqn-compare``, run from a checkout: ``python scripts/compare.py``."""

from dqn.compare import main

if __name__ == "__main__":
    main()
