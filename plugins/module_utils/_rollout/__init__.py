# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollout engine: standard library only, Python 3.9+, private to this collection.

It imports nothing from Ansible, so that the same files run inside the modules (shipped by AnsiballZ) and on the server.
"""
