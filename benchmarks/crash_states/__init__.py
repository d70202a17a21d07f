"""Crash a command after every change that it makes to its folder, rebuild what a disk may hold then, and resume."""
