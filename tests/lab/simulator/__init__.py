# Copyright (c) 2026, nvmeof.spdk contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for SPDK's ``nvmf_tgt`` / ``spdk_tgt`` program, release 26.05."""

VERSION = {"major": 26, "minor": 5, "patch": 0, "suffix": "", "commit": "d519b163cb"}
VERSION_TEXT = "SPDK v26.05 git sha1 d519b163cb"
