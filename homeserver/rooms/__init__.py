"""Rooms: the live room and every way to change, read or find one."""
