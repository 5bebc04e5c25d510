"""What an operator decides: settings, and nothing else.

Here live the frozen records of the configuration (`settings`), their loading from YAML and environment (`load`) and the
commented sample. Nothing of Parta is imported here, and nothing here looks at the network or a database.

To add a setting: a field with a default in `settings`, a commented line in `sample.yaml`, a case in tests/config.
"""
