"""The one command `freshgate`, for all that the adapter and the workers do on a command line.

It stands above both, which never import each other, so it is a part of neither, nor of `freshgate/`, which imports no
process. It is a package because import contracts take no single module. Nothing imports it.
"""
