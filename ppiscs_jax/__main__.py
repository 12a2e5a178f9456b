"""`python -m ppiscs_jax` is the command `ppiscs`."""

from ppiscs_jax.cli.main import main

if __name__ == "__main__":
    main()
