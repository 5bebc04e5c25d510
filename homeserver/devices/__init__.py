"""Devices: what a person is signed in with, the messages devices send each other, and their keys.

Here live the list of devices (`devices`), when they were last seen (`lastseen`), send-to-device messages (`todevice`),
and end-to-end encryption as far as a server has part in it: identity and one-time keys (`keys`), cross-signing
(`crosssigning`). The sessions of a device belong to `homeserver.accounts`; both write the same tables through storage.

To add something that hangs on a device: give its table a foreign key to `devices` with ON DELETE CASCADE, so that it
ends with the session.
"""
